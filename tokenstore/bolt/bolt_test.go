package bolt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// holdEnvironment is the environment variable for hold. If it contains a store's path, this
// process holds that store open instead of running tests.
const holdEnvironment = "MOLLYGATE_TEST_HOLD"

// jobs maps environment variables to the functions that this process can run instead of tests.
var jobs = map[string]func(spec string) (exitCode int){holdEnvironment: hold}

func TestMain(m *testing.M) {
	for variable, job := range jobs {
		if spec := os.Getenv(variable); spec != "" {
			os.Exit(job(spec))
		}
	}
	os.Exit(m.Run())
}

// hold opens a store and holds it open until standard input is closed.
func hold(path string) int {
	b, err := Open(path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	_ = b.Close()
	return 0
}

// usageOf returns a token's usage record, which includes the newest day.
func usageOf(b *Backend, id token.ID) (usage tokenstore.Usage, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		usage, err = savedUsage(tx, id)
		return err
	})
	return usage, err
}

func recorded(b *Backend) (time.Time, error) {
	state, err := b.State()
	return state.Recorded, err
}

var testTime = time.Date(2027, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

var testPolicy = token.Policy{
	Prefixes: token.Prefixes{token.DefaultPrefix},
	Accounts: []string{"default"},
	Catalog:  token.Catalog{Presets: map[string]token.Grants{"full": {"*"}}},
}

var testActor = tokenstore.Actor{Name: "caddy-admin"}

func mustOpen(t testing.TB, path string) *Backend {
	t.Helper()
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// newPath returns a path for a new store.
func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "tokens.db") }

// openStore returns a store whose clock is stopped.
func openStore(t testing.TB, b *Backend) *tokenstore.Store {
	t.Helper()
	s, err := tokenstore.Open(b, tokenstore.Options{
		Clock: tokenstore.ClockFunc(func() time.Time { return testTime }), Elapsed: func() time.Duration { return 0 },
		FlushInterval: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testToken is a token with its credential.
type testToken struct {
	*token.Token
	credential token.Credential
}

func makeToken(t testing.TB, s *tokenstore.Store, edit ...func(*token.Draft)) testToken {
	t.Helper()
	week, err := token.ParseLifetime("1w")
	if err != nil {
		t.Fatal(err)
	}
	draft := token.Draft{Kind: token.KindAPI, Name: "test", Preset: "full", Expiry: token.Expiry{ExpiresIn: week}}
	for _, f := range edit {
		f(&draft)
	}
	token, secret, err := s.Create(testPolicy, draft, testActor)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := testPolicy.Prefixes.Parse(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return testToken{token, credential}
}

// change edits a stored token.
func change(b *Backend, id token.ID, edit func(*token.Token)) error {
	_, err := b.Apply(id, testTime, func(old *token.Token) (tokenstore.Change, error) {
		if old == nil {
			return tokenstore.Change{}, tokenstore.ErrNotFound
		}
		token := *old
		token.Version++
		edit(&token)
		return tokenstore.Change{Token: &token, Audit: tokenstore.AuditEntry{Time: testTime, Action: "edit",
			TokenID: id}}, nil
	})
	return err
}

func mustChange(t testing.TB, b *Backend, id token.ID, edit func(*token.Token)) {
	t.Helper()
	if err := change(b, id, edit); err != nil {
		t.Fatal(err)
	}
}

// files returns a directory's entries by name, with their modes and contents.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		content := info.Mode().String()
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			content += string(raw)
		}
		found[entry.Name()] = content
	}
	return found
}

func TestOpenCreates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "tokens.db")
	if err := Inspect(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Inspect before Open: got err %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Inspect created a directory")
	}
	b := mustOpen(t, path)
	if got := slices.Sorted(maps.Keys(files(t, filepath.Dir(path)))); !slices.Equal(got, []string{"tokens.db"}) {
		t.Errorf("got directory contents %v, want only tokens.db", got)
	}
	for path, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir,
		filepath.Join(dir, "a"): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: got mode %v, err %v", filepath.Base(path), info.Mode(), err)
		}
	}
	if at, err := recorded(b); err != nil || !at.IsZero() {
		t.Errorf("got recorded time %s, err %v; want the zero time", at, err)
	}
	if err := Inspect(path); err != nil {
		t.Errorf("Inspect of an open store: %v", err)
	}
	token := makeToken(t, openStore(t, b)).Token
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	again := mustOpen(t, path)
	got, err := again.Token(token.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, token) {
		t.Errorf("got  %+v\nwant %+v", got, token)
	}
	if at, err := recorded(again); err != nil || !at.Equal(testTime) {
		t.Errorf("got recorded time %s, err %v; want %s", at, err, testTime)
	}
}

// TestOpenCreatesAtomically verifies that an incomplete store is never visible, and that only
// one of several concurrent calls of Open succeeds.
func TestOpenCreatesAtomically(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	done := make(chan struct{})
	var watchers, creators sync.WaitGroup
	watchers.Go(func() {
		for {
			if err := Inspect(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Inspect during creation: got err %v, want fs.ErrNotExist or none", err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	var opened []*Backend
	var mu sync.Mutex
	for range 4 {
		creators.Go(func() {
			b, err := Open(path)
			if locked := new(LockedError); err != nil && !errors.As(err, &locked) {
				t.Errorf("Open: got err %v, want a LockedError or none", err)
				return
			} else if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			opened = append(opened, b)
		})
	}
	creators.Wait()
	close(done)
	watchers.Wait()
	if len(opened) != 1 {
		t.Fatalf("%d backends have the store open, want 1", len(opened))
	}
	s := openStore(t, opened[0])
	makeToken(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := len(files(t, filepath.Dir(path))); n != 2 { // with the journal
		t.Errorf("the directory contains %d files, want 2", n)
	}
}

// TestReopenNeverCreates verifies that bbolt doesn't recreate a file that was removed after it
// was inspected, and doesn't initialize a file that was emptied.
func TestReopenNeverCreates(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := &Backend{path: path, format: storeFormat}
	if err := b.open(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a missing file: got err %v, want fs.ErrNotExist", err)
	}
	if n := len(files(t, filepath.Dir(path))); n != 0 {
		t.Errorf("the directory contains %d files, want none", n)
	}
	check(t, os.WriteFile(path, nil, 0o600))
	if err := b.open(); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("opening an empty file: got err %v, want an error saying that the file is empty", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("the file has %d bytes, err %v; want it unchanged", info.Size(), err)
	}
}

// TestLeftoverDraft verifies that Open succeeds even if an interrupted creation left a draft
// behind.
func TestLeftoverDraft(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	if err := os.WriteFile(path+".new-123", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, path)
	makeToken(t, openStore(t, b))
}

// TestPageSizes verifies that stores work with the page sizes used on other machines.
func TestPageSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1024, 4096, 16384, 65536} {
		path := newPath(t)
		makeStore(t, path, size, storeFormat.createSchema)
		b := mustOpen(t, path)
		s := openStore(t, b)
		token := makeToken(t, s)
		if match, err := s.Authenticate(token.credential, testTime); err != nil || match.Token.ID != token.ID {
			t.Errorf("page size %d: %v", size, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := Inspect(path); err != nil {
			t.Errorf("page size %d: %v", size, err)
		}
	}
}

// makeStore creates a bbolt file with arbitrary content.
func makeStore(t testing.TB, path string, pageSize int, fill func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fill), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	b, err := Open("tokens.db")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	// The store must not depend on the current directory.
	t.Chdir(t.TempDir())
	makeToken(t, openStore(t, b))
	if n := len(files(t, dir)); n != 2 { // with the journal
		t.Errorf("the directory contains %d files, want 2", n)
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "tokens.db"), filepath.Join(dir, "link.db")
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, link)
	makeToken(t, openStore(t, b))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	if _, err := Open(link); err == nil || errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "link to a file that doesn't exist") {
		t.Errorf("Open through a broken link: got err %v, want an error about the link", err)
	}
	if !maps.Equal(before, files(t, dir)) {
		t.Error("Open changed the directory")
	}
}

// copied copies the store at path and all files next to it as they currently are on disk. It
// returns the copy's path.
func copied(t testing.TB, path string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.CopyFS(dir, os.DirFS(filepath.Dir(path))))
	return filepath.Join(dir, filepath.Base(path))
}
