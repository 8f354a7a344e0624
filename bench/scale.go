package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// Scale is what a store with many tokens costs.
type Scale struct {
	Tokens int `json:"tokens"`
	// FileSize is of the store, in bytes.
	FileSize int64 `json:"file_bytes"`
	// Start is how long a Caddy takes from its start to its first answer about a
	// token, with the store and with an empty one; medians, in milliseconds.
	Start      float64 `json:"start_ms"`
	StartEmpty float64 `json:"start_empty_ms"`
	// Memory is what the Caddy's own memory is larger than with an empty store, in
	// bytes, before any token is used.
	Memory int64 `json:"memory_bytes"`
	Process
}

// Process is what is measured inside of a process that has the store open.
type Process struct {
	// ActiveMemory is how many bytes of memory a token takes that has been used,
	// without its page of the counters' file; of those Objects are how many objects
	// the garbage collector has to look at.
	ActiveMemory  float64 `json:"active_bytes_per_token"`
	ActiveObjects float64 `json:"active_objects_per_token"`
	// Collection is how long a collection of garbage takes when all tokens have been
	// used, and before any has been; medians, in milliseconds.
	Collection       float64 `json:"gc_ms"`
	CollectionBefore float64 `json:"gc_before_ms"`
	// Use is how long it takes to find a token and to count a use, in nanoseconds,
	// with tokens in random order.
	Use float64 `json:"use_ns"`
	// CreatesPerSecond is with creates from 64 callers, each of them on disk.
	CreatesPerSecond float64 `json:"creates_per_second"`
	// Revokes, in milliseconds, while nothing else is done and while the use of
	// 100,000 tokens is being saved all the time.
	RevokeIdleP50  float64 `json:"revoke_idle_p50_ms"`
	RevokeIdleP99  float64 `json:"revoke_idle_p99_ms"`
	RevokeFlushP50 float64 `json:"revoke_flushing_p50_ms"`
	RevokeFlushP99 float64 `json:"revoke_flushing_p99_ms"`
}

// measureScale measures an almost empty store and the large one.
func measureScale(ctx context.Context, o options, stores *stores) ([]Scale, error) {
	var all []Scale
	for _, tokens := range []int{1_000, o.tokens} {
		s := Scale{Tokens: tokens}
		filled, err := stores.fill(tokens, false)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(filled.path)
		if err != nil {
			return nil, err
		}
		s.FileSize = info.Size()
		if err := s.measureStart(ctx, stores, filled, o.starts); err != nil {
			return nil, err
		}
		if s.Process, err = measureProcess(ctx, stores, filled); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// measureStart starts Caddys with the store and with an empty one in turn.
func (s *Scale) measureStart(ctx context.Context, stores *stores, filled filledStore, starts int) error {
	var times [2][]float64
	var memory [2][]float64
	for i := range 2 * starts {
		side := i % 2
		home, err := os.MkdirTemp(stores.dir, "start-")
		if err != nil {
			return err
		}
		if side == 0 {
			if err := copyFile(filled.path, filepath.Join(home, "tokens.db")); err != nil {
				return err
			}
		}
		took, resident, err := startOnce(ctx, home)
		if err := errors.Join(err, os.RemoveAll(home)); err != nil {
			return err
		}
		times[side], memory[side] = append(times[side], took.Seconds()*1000), append(memory[side], float64(resident))
	}
	s.Start, s.StartEmpty = median(times[0]), median(times[1])
	s.Memory = int64(median(memory[0]) - median(memory[1]))
	return nil
}

func startOnce(ctx context.Context, home string) (took time.Duration, resident int64, err error) {
	address, err := freeAddress()
	if err != nil {
		return 0, 0, err
	}
	config := fmt.Sprintf(`{
	persist_config off
	admin off
	log {
		level ERROR
	}
	api_tokens {
		store bbolt %s/tokens.db
		account default {
			upstream_token upstream
		}
	}
}
http://%s {
	bind 127.0.0.1
	%s
	respond ok
}
`, home, address, gateDirective)
	if err := os.WriteFile(filepath.Join(home, "Caddyfile"), []byte(config), 0o600); err != nil {
		return 0, 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	caddy := exec.CommandContext(ctx, self, "caddy", "run", "--config", filepath.Join(home, "Caddyfile")) //nolint:gosec // it is this program
	caddy.Stderr = os.Stderr
	begun := time.Now()
	if err := caddy.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		err = errors.Join(err, caddy.Process.Signal(os.Interrupt))
		_ = caddy.Wait() // how it ended is nothing to the figures
	}()
	for !answered(ctx, address) {
		if time.Since(begun) > time.Minute {
			return 0, 0, errors.New("a Caddy didn't answer within a minute of its start")
		}
		time.Sleep(time.Millisecond)
	}
	took = time.Since(begun)
	time.Sleep(time.Second) // for what is done at the start and beside the requests
	resident, err = residentMemory(strconv.Itoa(caddy.Process.Pid))
	return took, resident, err
}

// answered says whether a Caddy answers about a token: one that the store has to be
// asked for.
func answered(ctx context.Context, address string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /api/unikernels HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", address,
		unknownToken)
	if err != nil {
		return false
	}
	status, err := (&connection{conn, bufio.NewReader(conn), 0}).readAnswer()
	return err == nil && status == 401
}

// unknownToken is well formed and known nowhere.
const unknownToken = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"

// measureProcess lets a process of its own measure a copy of the store.
func measureProcess(ctx context.Context, stores *stores, filled filledStore) (p Process, err error) {
	home, err := os.MkdirTemp(stores.dir, "scale-")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	path := filepath.Join(home, "tokens.db")
	if err := copyFile(filled.path, path); err != nil {
		return p, err
	}
	self, err := os.Executable()
	if err != nil {
		return p, err
	}
	command := exec.CommandContext(ctx, self, "scale", path) //nolint:gosec // it is this program
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return p, fmt.Errorf("measuring a store: %w", err)
	}
	return p, json.Unmarshal(out, &p)
}

// scaleRole measures the store at a path and writes a Process.
func scaleRole(args []string) error {
	backend, err := bolt.Open(args[0])
	if err != nil {
		return err
	}
	store, err := tokenstore.Open(backend, tokenstore.Options{FlushInterval: -1})
	if err != nil {
		return errors.Join(err, backend.Close())
	}
	var p Process
	err = errors.Join(p.measure(store), store.Close())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p)
}

func (p *Process) measure(store *tokenstore.Store) error {
	type handle struct {
		id     token.ID
		digest token.Digest
	}
	var handles []handle
	err := store.Scan(context.Background(), func(t tokenstore.TokenUsage) bool {
		handles = append(handles, handle{t.Token.ID, t.Token.Digest})
		return true
	})
	if err != nil {
		return err
	}
	p.CollectionBefore = collection()
	before := memory()
	use := func(h handle, at time.Time) error {
		match, err := store.Authenticate(token.Credential{Digest: h.digest}, at)
		if err == nil {
			store.CountAllowed(match, "unikernel:list",
				tokenstore.LastUse{Time: at, IP: "192.0.2.1", UserAgent: "curl/8.5.0", Route: "GET /api/unikernels"})
		}
		return err
	}
	for i, h := range handles {
		if err := use(h, store.Now()); err != nil {
			return err
		}
		if i%100_000 == 0 { // what waits to be saved is not what is asked about
			if err := store.Flush(); err != nil {
				return err
			}
		}
	}
	if err := store.Flush(); err != nil {
		return err
	}
	p.Collection = collection()
	after := memory()
	p.ActiveMemory = float64(after.HeapAlloc-before.HeapAlloc) / float64(len(handles))
	p.ActiveObjects = float64(after.HeapObjects-before.HeapObjects) / float64(len(handles))

	const uses = 2_000_000
	begun := time.Now()
	for i := range uses {
		// A prime, so that all tokens come and neighbours don't follow each other.
		if err := use(handles[i*7_368_787%len(handles)], begun); err != nil {
			return err
		}
	}
	p.Use = float64(time.Since(begun).Nanoseconds()) / uses
	if err := store.Flush(); err != nil {
		return err
	}
	if p.CreatesPerSecond, err = createsPerSecond(store); err != nil {
		return err
	}
	revoke := func(i int) (time.Duration, error) {
		begun := time.Now()
		_, err := store.Revoke(handles[i].id, token.AnyVersion, benchActor)
		return time.Since(begun), err
	}
	const revokes = 400
	next := 0
	several := func() (p50, p99 float64, err error) {
		var times []float64
		for range min(revokes, len(handles)/2) {
			took, err := revoke(next)
			if err != nil {
				return 0, 0, err
			}
			next++
			times = append(times, took.Seconds()*1000)
		}
		return median(times), quantile(times, 0.99), nil
	}
	if p.RevokeIdleP50, p.RevokeIdleP99, err = several(); err != nil {
		return err
	}
	const dirty = 100_000
	var stopped atomic.Bool
	flushed := make(chan error, 1)
	go func() {
		var errs []error
		for !stopped.Load() {
			for i := range min(dirty, len(handles)) {
				if i%2 == 0 || len(handles) > dirty { // revoked ones are refused in between
					errs = append(errs, use(handles[len(handles)-1-i], store.Now()))
				}
			}
			errs = append(errs, store.Flush())
		}
		flushed <- errors.Join(errs...)
	}()
	p.RevokeFlushP50, p.RevokeFlushP99, err = several()
	stopped.Store(true)
	return errors.Join(err, <-flushed)
}

// collection returns how long a collection of garbage takes, in milliseconds.
func collection() float64 {
	runtime.GC()
	var times []float64
	for range 5 {
		begun := time.Now()
		runtime.GC()
		times = append(times, time.Since(begun).Seconds()*1000)
	}
	return median(times)
}

func memory() runtime.MemStats {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m
}

func createsPerSecond(store *tokenstore.Store) (float64, error) {
	const (
		callers = 64
		enough  = 3 * time.Second
	)
	var (
		made   atomic.Int64
		mu     sync.Mutex
		failed error
		busy   sync.WaitGroup
		rules  = policy()
	)
	begun := time.Now()
	for range callers {
		busy.Go(func() {
			for time.Since(begun) < enough {
				if _, _, err := store.Create(rules, draft(made.Add(1)), benchActor); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	busy.Wait()
	return float64(made.Load()) / time.Since(begun).Seconds(), failed
}
