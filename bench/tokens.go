package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// maxUsed is how many of a store's tokens the requests of a row use.
const maxUsed = 10_000

// policy is that of the configurations that are measured.
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

// makers is how many goroutines fill a store; their creates share commits.
const makers = 20_000

// compact writes the store anew. One that was filled in a few large steps is half free
// pages, whose list each commit writes; one that grew token by token isn't.
func compact(path string) (err error) {
	from, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	draft := path + ".compact"
	to, err := bbolt.Open(draft, 0o600, nil)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	const step = 64 << 20 // bytes of a transaction
	if err := errors.Join(bbolt.Compact(to, from, step), to.Close(), from.Close()); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

// fillStore makes a store with n tokens and returns some of them as texts. edit changes
// what is asked for.
func fillStore(path string, n int, edit func(*token.Draft)) (texts []string, err error) {
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
		made  atomic.Int64
		mu    sync.Mutex
		busy  sync.WaitGroup
		each  = int64(max(n/maxUsed, 1))
		rules = policy()
	)
	for range min(makers, n) {
		busy.Go(func() {
			for i := made.Add(1); i <= int64(n); i = made.Add(1) {
				wanted := draft(i)
				edit(&wanted)
				_, secret, createErr := store.Create(rules, wanted, benchActor)
				mu.Lock()
				if err = errors.Join(err, createErr); err == nil && i%each == 0 {
					texts = append(texts, secret.Reveal())
				}
				mu.Unlock()
			}
		})
	}
	busy.Wait()
	return texts, err
}

// stores are the stores that have been filled; each that needs one gets a copy.
type stores struct {
	dir    string
	filled map[string]filledStore
}

type filledStore struct {
	path   string
	tokens []string // as texts, some of them
}

// fill returns a store with so many tokens, with limits or without.
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

// unknownTokens are well formed and known nowhere.
func unknownTokens(dir string) ([]string, error) {
	path := filepath.Join(dir, "elsewhere.db")
	texts, err := fillStore(path, 100, func(*token.Draft) {})
	return texts, errors.Join(err, os.Remove(path))
}

// limited gives a token limits that nobody comes to.
func limited(d *token.Draft) {
	d.RateLimit = &token.RateLimit{Requests: 1e9, Window: time.Second}
	d.Quota = &token.Quota{Requests: 1e15 - 1, Period: token.PeriodMonth}
}
