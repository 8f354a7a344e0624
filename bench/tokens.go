package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// maxUsed is the approximate maximum number of tokens that a row's requests use.
const maxUsed = 10_000

// policy returns the token policy used in the measured configurations.
func policy() token.Policy {
	table, _ := gate.TableByName("mollymawk")
	return token.Policy{
		Prefixes: token.Prefixes{token.DefaultPrefix}, Accounts: []string{"default"}, Catalog: gate.Catalog(table),
	}
}

var benchActor = tokenstore.Actor{Name: "bench"}

func draft(n int64) token.Draft {
	return token.Draft{
		Kind: token.KindAPI, Name: fmt.Sprint("pipeline ", n), Account: "default", Preset: "deploy",
		Expiry: token.Expiry{NeverExpires: true},
	}
}

// creators is the number of goroutines that fill a store. Tokens created concurrently share
// commits.
const creators = 20_000

// compact rewrites the store without free pages. When a store is filled in a few large steps,
// half of its pages are free, and each commit writes the list of free pages. A store that grew
// one token at a time has few free pages.
func compact(path string) error {
	backend, err := bolt.Open(path)
	if err != nil {
		return err
	}
	_, _, err = backend.Compact()
	return errors.Join(err, backend.Close())
}

// fillStore creates a store with n tokens and returns the secrets of some of them. edit
// changes each token's draft.
func fillStore(path string, n int, edit func(*token.Draft)) (secrets []string, err error) {
	backend, err := bolt.Open(path)
	if err != nil {
		return nil, err
	}
	store, err := tokenstore.Open(backend, tokenstore.Options{FlushInterval: -1})
	if err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var (
		count atomic.Int64
		mu    sync.Mutex
		busy  sync.WaitGroup
		step  = int64(max(n/maxUsed, 1))
		rules = policy()
	)
	for range min(creators, n) {
		busy.Go(func() {
			for i := count.Add(1); i <= int64(n); i = count.Add(1) {
				wanted := draft(i)
				edit(&wanted)
				_, secret, createErr := store.Create(rules, wanted, benchActor)
				mu.Lock()
				if err = errors.Join(err, createErr); err == nil && i%step == 0 {
					secrets = append(secrets, secret.Reveal())
				}
				mu.Unlock()
			}
		})
	}
	busy.Wait()
	return secrets, err
}

// stores holds the filled stores. Each server uses a copy of one of them.
type stores struct {
	dir    string
	filled map[string]filledStore
}

type filledStore struct {
	path   string
	tokens []string // the secrets of some tokens
}

// fill returns a store with this many tokens, with or without limits.
func (s *stores) fill(tokens int, limits bool) (filled filledStore, err error) {
	key := fmt.Sprint(tokens, "-", limits)
	if filled, ok := s.filled[key]; ok {
		return filled, nil
	}
	fmt.Fprintf(os.Stderr, "filling a store with %s tokens\n", short(tokens))
	filled.path = filepath.Join(s.dir, key+".db")
	edit := func(*token.Draft) {}
	if limits {
		edit = limited
	}
	if filled.tokens, err = fillStore(filled.path, tokens, edit); err == nil {
		err = compact(filled.path)
	}
	s.filled[key] = filled
	return filled, err
}

// unknownTokens returns well-formed tokens that aren't in any store.
func unknownTokens(dir string) ([]string, error) {
	path := filepath.Join(dir, "elsewhere.db")
	secrets, err := fillStore(path, 100, func(*token.Draft) {})
	return secrets, errors.Join(err, os.Remove(path))
}

// limited gives a token limits too high for any request to reach.
func limited(d *token.Draft) {
	d.RateLimit = &token.RateLimit{Requests: 1e9, Window: time.Second}
	d.Quota = &token.Quota{Requests: 1e15 - 1, Period: token.PeriodMonth}
}
