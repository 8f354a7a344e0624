package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// saveBackup writes a backup of a store or of a replica to a file.
func saveBackup(t testing.TB, s interface {
	Backup() (io.ReadCloser, int64, error)
}) string {
	t.Helper()
	content, length, err := s.Backup()
	check(t, err)
	path := filepath.Join(t.TempDir(), "backup.db")
	file, err := os.Create(path)
	check(t, err)
	written, err := io.Copy(file, content)
	check(t, errors.Join(err, file.Close(), content.Close()))
	if written != length {
		t.Fatalf("the backup has %d bytes, want %d", written, length)
	}
	return path
}

// TestBackupUnderLoad verifies that a backup taken while tokens are created, changed and used
// is sound and usable, and contains all changes made before it was taken.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	before := makeToken(t, s)
	match, err := s.Authenticate(before.credential, testTime)
	check(t, err)
	s.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: testTime})

	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				tok := makeToken(t, s)
				_, err := s.Revoke(tok.ID, token.AnyVersion, testActor)
				check(t, err)
				check(t, s.Delete(tok.ID, token.AnyVersion, testActor))
			}
		})
	}
	var backups []string
	for range 5 {
		backups = append(backups, saveBackup(t, s))
	}
	close(stop)
	load.Wait()
	for _, backup := range backups {
		report, err := Check(backup)
		if err != nil || len(report.Problems) > 0 || report.Tokens == 0 || report.AuditEntries == 0 {
			t.Fatalf("Check: got %+v, err %v, want a sound store with tokens and audit entries", report, err)
		}
		restored := openStore(t, mustOpen(t, backup))
		if match, err := restored.Authenticate(before.credential, testTime); err != nil ||
			match.Status != token.StatusActive {
			t.Errorf("Authenticate: got %v, err %v, want an active token", match, err)
		}
		if got, err := restored.Get(before.ID); err != nil || got.Usage.Allowed != 1 {
			t.Errorf("Get: got %+v, err %v, want 1 allowed request", got, err)
		}
		check(t, restored.Close())
	}
	if left, _ := filepath.Glob(path + ".backup-*"); len(left) > 0 {
		t.Errorf("files were left behind: %v", left)
	}
}

// TestBackupReadSlowly verifies that a slow reader of a backup doesn't make the store's file
// grow with every change, as an open transaction would. An open transaction would also keep
// the store from closing.
func TestBackupReadSlowly(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	tok := makeToken(t, s)
	content, _, err := s.Backup()
	check(t, err)
	defer content.Close()
	for i := range 300 {
		name := fmt.Sprint("name ", i)
		_, err := s.Edit(testPolicy, tok.ID, token.Edit{Name: &name}, testActor)
		check(t, err)
	}
	info, err := os.Stat(path)
	check(t, err)
	if info.Size() > 1<<20 {
		t.Errorf("the file grew to %d bytes during a slow backup", info.Size())
	}
}

// damageRecord flips a bit in the first value of a bucket.
func damageRecord(t testing.TB, b *Backend, bucket []byte) {
	t.Helper()
	check(t, b.update(func(tx *bbolt.Tx) error {
		key, value := tx.Bucket(bucket).Cursor().First()
		value = bytes.Clone(value)
		value[len(value)/2] ^= 1
		return tx.Bucket(bucket).Put(key, value)
	}))
}

// damageClosed damages the first record of a bucket of a closed store.
func damageClosed(t testing.TB, path string, bucket []byte) {
	t.Helper()
	b := mustOpen(t, path)
	damageRecord(t, b, bucket)
	check(t, b.Close())
}

func TestCheckProblems(t *testing.T) {
	t.Parallel()
	drop := func(bucket []byte) func(testing.TB, string) {
		return func(t testing.TB, path string) {
			b := mustOpen(t, path)
			check(t, b.update(func(tx *bbolt.Tx) error {
				key, _ := tx.Bucket(bucket).Cursor().First()
				return tx.Bucket(bucket).Delete(key)
			}))
			check(t, b.Close())
		}
	}
	damaged := func(bucket []byte) func(testing.TB, string) {
		return func(t testing.TB, path string) { damageClosed(t, path, bucket) }
	}
	for name, test := range map[string]struct {
		damage func(testing.TB, string)
		want   string
	}{
		"nothing":         {func(testing.TB, string) {}, ""},
		"token":           {damaged(tokensBucket), "checksum"},
		"digest":          {damaged(digestsBucket), "secret"},
		"usage":           {damaged(usageBucket), "usage of token"},
		"audit":           {damaged(auditBucket), "audit entry"},
		"request":         {damaged(requestsBucket), "idempotency record"},
		"token missing":   {drop(tokensBucket), "doesn't exist"},
		"digest missing":  {drop(digestsBucket), "token"},
		"created missing": {drop(createdBucket), "missing from an index"},
		"expires missing": {drop(expiresBucket), "missing from an index"},
		"requested":       {drop(requestedBucket), "never expire"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			s := openStore(t, mustOpen(t, path))
			tok := makeToken(t, s)
			_, _, _, err := s.CreateOnce(testPolicy,
				token.Draft{Kind: token.KindAdmin, Name: "x",
					Expiry: token.Expiry{ExpiresAt: testTime.AddDate(0, 1, 0)}}, testActor,
				tokenstore.Request{Key: "k"})
			check(t, err)
			match, err := s.Authenticate(tok.credential, testTime)
			check(t, err)
			s.CountDenied(match, tokenstore.Refusal{Time: testTime, Scope: "unikernel:list",
				Code: "insufficient_scope"})
			check(t, s.Close())
			test.damage(t, path)
			report, err := Check(path)
			if err != nil {
				t.Fatal(err)
			}
			problems := strings.Join(report.Problems, "\n")
			if (test.want == "") != (problems == "") || !strings.Contains(problems, test.want) {
				t.Errorf("Check: got %d tokens and problems %s", report.Tokens, problems)
			}
		})
	}
}

func TestCheckMissingFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	if _, err := Check(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check of a missing file: got err %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("Check created a missing file")
	}
}

// TestRestore verifies that a backup replaces the store, and that the old store is kept.
func TestRestore(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	old := makeToken(t, s)
	backup := saveBackup(t, s)
	newer := makeToken(t, s)
	check(t, s.Close())

	kept, err := Restore(backup, path, testTime)
	check(t, err)
	if !strings.HasPrefix(kept, path+".replaced-2") {
		t.Errorf("got old store kept as %q, want a path next to the store", kept)
	}
	has := func(path string, tokens ...testToken) {
		t.Helper()
		b := mustOpen(t, path)
		defer b.Close()
		for _, token := range []testToken{old, newer} {
			want := false
			for _, present := range tokens {
				want = want || present.ID == token.ID
			}
			if _, err := b.Token(token.ID); (err == nil) != want {
				t.Errorf("%s: reading token %s: %v", path, token.ID, err)
			}
		}
	}
	has(path, old)
	has(kept, old, newer)
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode().Perm() != fileMode {
		t.Errorf("got mode %v, want 0600", info.Mode())
	}

	link := filepath.Join(t.TempDir(), "link.db")
	check(t, os.Symlink(path, link))
	if _, err := Restore(kept, link, testTime.Add(time.Second)); err != nil {
		t.Error(err)
	}
	has(path, old, newer)

	elsewhere := filepath.Join(t.TempDir(), "new", "tokens.db")
	if kept, err := Restore(backup, elsewhere, testTime); err != nil || kept != "" {
		t.Errorf("Restore to a new path: kept %q, err %v, want neither", kept, err)
	}
	has(elsewhere, old)
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	makeToken(t, s)
	backup := saveBackup(t, s)
	content := func() string {
		t.Helper()
		text, err := os.ReadFile(path)
		check(t, err)
		return string(text)
	}
	before := content()

	_, err := Restore(backup, path, testTime)
	if _, locked := errors.AsType[*LockedError](err); !locked {
		t.Errorf("Restore over a store in use: got err %v, want a LockedError", err)
	}
	if content() != before {
		t.Error("the open store was changed")
	}
	check(t, s.Close())
	before = content()
	if _, err := Restore(path, path, testTime); err == nil {
		t.Error("Restore accepted the store itself as a backup")
	}
	damageClosed(t, backup, tokensBucket)
	if _, err := Restore(backup, path, testTime); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Restore of a damaged backup: got err %v, want an error about the damage", err)
	}
	check(t, os.WriteFile(backup, []byte("no store"), 0o600))
	if _, err := Restore(backup, path, testTime); err == nil {
		t.Error("Restore accepted a file that isn't a store")
	}
	if content() != before {
		t.Error("the store was changed")
	}
}

// TestCheckBackup verifies what CheckBackup says about sound, damaged and foreign files.
func TestCheckBackup(t *testing.T) {
	t.Parallel()
	s := openStore(t, mustOpen(t, newPath(t)))
	makeToken(t, s)
	backup := saveBackup(t, s)
	got, err := CheckBackup(backup)
	if want := (tokenstore.Restored{Tokens: 1, AuditEntries: 1}); err != nil || got != want {
		t.Errorf("a backup: got %+v, err %v, want %+v", got, err, want)
	}
	content, err := os.ReadFile(backup)
	check(t, err)
	replica, err := OpenReplica(newPath(t))
	check(t, err)
	copied := replica.path
	check(t, replica.Close())
	replicaContent, err := os.ReadFile(copied)
	check(t, err)
	path := newPath(t)
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"foreign":   {[]byte("no store"), "it is not a token store"},
		"empty":     {nil, "the file is empty"},
		"truncated": {content[:len(content)-4096], "the file is damaged: it has "},
		"replica":   {replicaContent, "it is a gate's copy of a shared store"},
	} {
		check(t, os.WriteFile(path, test.content, 0o600))
		_, err := CheckBackup(path)
		invalid, ok := errors.AsType[*tokenstore.BackupError](err)
		if !ok || !strings.HasPrefix(invalid.Reason, test.want) || strings.Contains(invalid.Reason, path) ||
			strings.Contains(invalid.Reason, "caddy") {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	damageClosed(t, backup, tokensBucket)
	if _, err := CheckBackup(backup); err == nil || strings.Contains(err.Error(), backup) {
		t.Errorf("a damaged record: got %v", err)
	}
	if _, err := CheckBackup(backup + "x"); !errors.Is(err, tokenstore.ErrUnavailable) {
		t.Errorf("a missing file: got %v", err)
	}
}

// TestRestoreOverDamage verifies that Restore replaces a damaged store.
func TestRestoreOverDamage(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	token := makeToken(t, s)
	backup := saveBackup(t, s)
	check(t, s.Close())
	check(t, os.WriteFile(path, []byte("garbage"), 0o600))
	if kept, err := Restore(backup, path, testTime); err != nil || kept == "" {
		t.Fatalf("Restore over a damaged store: kept %q, err %v, want the old store kept", kept, err)
	}
	if _, err := mustOpen(t, path).Token(token.ID); err != nil {
		t.Error(err)
	}
}
