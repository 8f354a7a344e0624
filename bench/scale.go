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

// Scale holds the measurements of a store with many tokens.
type Scale struct {
	Tokens int `json:"tokens"`
	// FileSize is the size of the store in bytes.
	FileSize int64 `json:"file_bytes"`
	// Start and StartEmpty are the times from starting Caddy to its first decision on a token,
	// with this store and with an empty one. They are medians, in milliseconds.
	Start      float64 `json:"start_ms"`
	StartEmpty float64 `json:"start_empty_ms"`
	// Memory is the additional anonymous memory compared with an empty store, in bytes,
	// before any token is used.
	Memory int64 `json:"memory_bytes"`
	Process
}

// Process holds the measurements made inside a process that has the store open.
type Process struct {
	// ActiveMemory is the heap memory per used token, in bytes. ActiveObjects is the number of
	// heap objects per used token.
	ActiveMemory  float64 `json:"active_bytes_per_token"`
	ActiveObjects float64 `json:"active_objects_per_token"`
	// Collection and CollectionBefore are garbage collection times after all tokens have been
	// used and before any token has been used. They are medians, in milliseconds.
	Collection       float64 `json:"gc_ms"`
	CollectionBefore float64 `json:"gc_before_ms"`
	// Use is the time to authenticate a token and count its use, in nanoseconds, with
	// tokens in random order.
	Use float64 `json:"use_ns"`
	// CreatesPerSecond is the number of tokens that 64 callers create per second, with every
	// creation synced to disk.
	CreatesPerSecond float64 `json:"creates_per_second"`
	// Times to revoke a token, in milliseconds, in an idle store and while usage for 100,000
	// tokens is flushed continuously.
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

// measureStart alternately starts Caddy with the store and with an empty one.
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
			upstream_token %s
		}
	}
}
http://%s {
	bind 127.0.0.1
	%s
	respond ok
}
`, home, upstreamToken, address, gateDirective)
	path := filepath.Join(home, "Caddyfile")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return 0, 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	caddy := exec.CommandContext(ctx, self, "caddy", "run", "--config", path) //nolint:gosec // runs this program
	caddy.Stderr = os.Stderr
	start := time.Now()
	if err := caddy.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		err = errors.Join(err, caddy.Process.Signal(os.Interrupt))
		_ = caddy.Wait() // the exit status doesn't matter
	}()
	for !responds(ctx, address) {
		if time.Since(start) > time.Minute {
			return 0, 0, errors.New("no response from Caddy within a minute of starting it")
		}
		time.Sleep(time.Millisecond)
	}
	took = time.Since(start)
	time.Sleep(time.Second) // let background startup work finish
	resident, err = residentMemory(strconv.Itoa(caddy.Process.Pid))
	return took, resident, err
}

// responds reports whether Caddy answers a request whose token it must look up in the store.
func responds(ctx context.Context, address string) bool {
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
	status, err := (&connection{conn, bufio.NewReader(conn), 0}).readResponse()
	return err == nil && status == 401
}

// unknownToken is a well-formed token that isn't in any store.
const unknownToken = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"

// measureProcess measures a copy of the store in a separate process.
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
	command := exec.CommandContext(ctx, self, "scale", path) //nolint:gosec // runs this program
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return p, fmt.Errorf("measuring a store: %w", err)
	}
	return p, json.Unmarshal(out, &p)
}

// scaleRole measures the store at path args[0] and writes a Process to standard output.
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
		if i%100_000 == 0 { // pending usage would distort the memory figures
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

	uses := max(2*len(handles), 100_000)
	start := time.Now()
	for i := range uses {
		// Stepping by a prime uses all tokens, but not in store order.
		if err := use(handles[i*7_368_787%len(handles)], start); err != nil {
			return err
		}
	}
	p.Use = float64(time.Since(start).Nanoseconds()) / float64(uses)
	if err := store.Flush(); err != nil {
		return err
	}
	if p.CreatesPerSecond, err = createsPerSecond(store); err != nil {
		return err
	}
	revoke := func(i int) (time.Duration, error) {
		start := time.Now()
		_, err := store.Revoke(handles[i].id, token.AnyVersion, benchActor)
		return time.Since(start), err
	}
	const revokes = 400
	next := 0
	revokeMany := func() (p50, p99 float64, err error) {
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
	if p.RevokeIdleP50, p.RevokeIdleP99, err = revokeMany(); err != nil {
		return err
	}
	const pending = 100_000 // tokens with usage to flush
	var stopped atomic.Bool
	flushed := make(chan error, 1)
	go func() {
		var errs []error
		for !stopped.Load() {
			for i := range min(pending, len(handles)) {
				// In a small store, some tokens have been revoked and are refused.
				if i%2 == 0 || len(handles) > pending {
					errs = append(errs, use(handles[len(handles)-1-i], store.Now()))
				}
			}
			errs = append(errs, store.Flush())
		}
		flushed <- errors.Join(errs...)
	}()
	p.RevokeFlushP50, p.RevokeFlushP99, err = revokeMany()
	stopped.Store(true)
	return errors.Join(err, <-flushed)
}

// collection returns the median duration of a garbage collection, in milliseconds.
func collection() float64 {
	runtime.GC()
	var times []float64
	for range 5 {
		start := time.Now()
		runtime.GC()
		times = append(times, time.Since(start).Seconds()*1000)
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
		callers  = 64
		duration = 3 * time.Second
	)
	var (
		count  atomic.Int64
		mu     sync.Mutex
		failed error
		busy   sync.WaitGroup
		rules  = policy()
	)
	start := time.Now()
	for range callers {
		busy.Go(func() {
			for time.Since(start) < duration {
				if _, _, err := store.Create(rules, draft(count.Add(1)), benchActor); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	busy.Wait()
	return float64(count.Load()) / time.Since(start).Seconds(), failed
}
