package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// filledStore creates and closes a store with n tokens, half of which have been used.
func filledStore(t *testing.T, n int) (path string, tokens []testToken) {
	t.Helper()
	path = newPath(t)
	s := openStore(t, mustOpen(t, path))
	month, err := token.ParseLifetime("1mo")
	check(t, err)
	for i := range n {
		draft := token.Draft{Kind: token.KindAPI, Name: "test", Preset: "full", Expiry: token.Expiry{ExpiresIn: month}}
		created, secret, _, err := s.CreateOnce(testPolicy, draft, testActor, tokenstore.Request{Key: fmt.Sprint(i)})
		check(t, err)
		credential, err := testPolicy.Prefixes.Parse(secret.Reveal())
		check(t, err)
		tok := testToken{created, credential}
		tokens = append(tokens, tok)
		if i%2 == 0 { // today and yesterday
			s.CountAllowed(authenticate(t, s, tok), "a:b", tokenstore.LastUse{Time: testTime.AddDate(0, 0, -1)})
			s.CountAllowed(authenticate(t, s, tok), "a:b", tokenstore.LastUse{Time: testTime})
		}
	}
	check(t, s.Close())
	return path, tokens
}

// damageLeaf overwrites the first leaf page of a bucket in a closed store.
func damageLeaf(t *testing.T, path string, bucket []byte) {
	t.Helper()
	db, err := bbolt.Open(path, fileMode, nil)
	check(t, err)
	var page int
	check(t, db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucket).Root() == 0 {
			t.Fatalf("bucket %s has no pages of its own", bucket)
		}
		for page = int(tx.Bucket(bucket).Root()); ; {
			info, err := tx.Page(page)
			if err != nil || info.Type == "leaf" {
				return err
			}
			page = int(firstChild(t, path, page, int64(tx.DB().Info().PageSize)))
		}
	}))
	pageSize := int64(db.Info().PageSize)
	check(t, db.Close())
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	defer file.Close()
	_, err = file.WriteAt([]byte(strings.Repeat("damage", int(pageSize)/6)), int64(page)*pageSize)
	check(t, err)
}

// firstChild returns the page that a branch page's first entry refers to.
func firstChild(t *testing.T, path string, page int, pageSize int64) uint64 {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	defer file.Close()
	number := make([]byte, 8)
	_, err = file.ReadAt(number, int64(page)*pageSize+16+8)
	check(t, err)
	return nativeUint64(number)
}

// TestDamagedBucket damages a page in each bucket in turn. It verifies that tokens can still
// be revoked, disabled and deleted, that usage can be saved, and that the loss is reported
// once.
func TestDamagedBucket(t *testing.T) {
	t.Parallel()
	for _, bucket := range storeFormat.buckets() {
		t.Run(string(bucket), func(t *testing.T) {
			t.Parallel()
			path, tokens := filledStore(t, 200)
			damageLeaf(t, path, bucket)
			b := mustOpen(t, path)
			s := openStore(t, b)
			health := s.Health()
			if len(health.Repairs) != 1 || health.Write != nil || health.Unrepaired != nil {
				t.Fatalf("got health %+v, want one successful repair", health)
			}
			if kept := health.Repairs[0].Kept; !strings.HasPrefix(kept, path+damagedSuffix) {
				t.Errorf("got damaged file kept as %s, want a path next to the store", kept)
			} else if _, err := os.Stat(kept); err != nil {
				t.Error(err)
			}
			damaged := 0
			for i, tok := range tokens {
				if used, _, err := b.Usage(tok.ID, 0, 0); err != nil || string(bucket) == "usage" && i%2 == 0 &&
					used.Allowed == 0 {
					t.Errorf("token %s: got usage %+v, err %v", tok.ID, used, err) // restored from day records
				}
				match, err := s.Authenticate(tok.credential, testTime)
				switch {
				case errors.Is(err, token.ErrDamaged):
					damaged++
					if _, err := s.Revoke(tok.ID, token.AnyVersion, testActor); !errors.Is(err, token.ErrDamaged) {
						t.Errorf("revoking a damaged token: %v", err)
					}
					check(t, s.Delete(tok.ID, token.AnyVersion, testActor))
					if _, err := s.Authenticate(tok.credential, testTime); !errors.Is(err, tokenstore.ErrNotFound) {
						t.Errorf("reading a deleted damaged token: got err %v, want ErrNotFound", err)
					}
					continue
				case err != nil:
					t.Fatalf("reading token %s: %v", tok.ID, err)
				}
				s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
				switch i % 3 {
				case 0:
					_, err = s.Revoke(tok.ID, token.AnyVersion, testActor)
				case 1:
					_, err = s.Disable(tok.ID, token.AnyVersion, testActor)
				case 2:
					err = s.Delete(tok.ID, token.AnyVersion, testActor)
				}
				check(t, err)
			}
			if damaged != health.Damaged ||
				(damaged > 0) != (string(bucket) == "tokens" || string(bucket) == "digests") {
				t.Errorf("%d tokens are damaged, but Health reports %d", damaged, health.Damaged)
			}
			check(t, s.Flush())
			entries, _, err := s.Audit(tokenstore.AuditPage{Limit: 1000})
			check(t, err)
			actions := make(map[string]int)
			for _, entry := range entries {
				actions[entry.Action]++
			}
			if actions["repair"] != 1 || actions["revoke"] < 40 {
				t.Errorf("got audit log actions %v, want 1 repair and at least 40 revocations", actions)
			}
			check(t, s.Close())
			checkRepaired(t, path)
		})
	}
}

// TestDamagedTokenPersists verifies that a lost token stays damaged after restarts, backups
// and further rebuilds.
func TestDamagedTokenPersists(t *testing.T) {
	t.Parallel()
	path, tokens := filledStore(t, 100)
	damageLeaf(t, path, tokensBucket)
	count := func(path string) (damaged int) {
		b := mustOpen(t, path)
		s := openStore(t, b)
		defer func() { check(t, s.Close()) }()
		for _, tok := range tokens {
			if _, err := s.Authenticate(tok.credential, testTime); errors.Is(err, token.ErrDamaged) {
				damaged++
			} else {
				check(t, err)
			}
		}
		listed := 0
		check(t, b.List(tokenstore.OrderExpires, nil, true, func(tok *token.Token) bool {
			if tok.Damaged {
				listed++
			}
			return true
		}))
		if health := b.Health(); listed != damaged || health.Damaged != damaged {
			t.Errorf("List returned %d damaged tokens and Health reported %d, want %d", listed, health.Damaged, damaged)
		}
		_, _, err := b.Compact()
		check(t, err)
		return damaged
	}
	want := count(path)
	if want == 0 {
		t.Fatal("no token is damaged")
	}
	if got := count(path); got != want {
		t.Errorf("got %d damaged tokens after a restart, want %d", got, want)
	}
	s := openStore(t, mustOpen(t, path))
	backup := saveBackup(t, s)
	check(t, s.Close())
	restored := newPath(t)
	_, err := Restore(backup, restored, testTime)
	check(t, err)
	if got := count(restored); got != want {
		t.Errorf("got %d damaged tokens after a restore, want %d", got, want)
	}
}

// TestRepair verifies that Repair copies the readable parts of a file that Open refuses, and
// leaves a sound file unchanged.
func TestRepair(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(raw []byte){
		"sound": func([]byte) {},
		"meta":  func(raw []byte) { raw[16+48] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, tokens := filledStore(t, 100)
			raw, err := os.ReadFile(path)
			check(t, err)
			damage(raw)
			check(t, os.WriteFile(path, raw, fileMode))
			if b, err := Open(path); (err == nil) != (name == "sound") {
				t.Errorf("Open: got err %v", err)
			} else if err == nil {
				check(t, b.Close())
			} else if !strings.Contains(err.Error(), "caddy api-token repair") {
				t.Errorf("the error doesn't say how to repair the file: %v", err)
			}
			done, err := Repair(path, testTime)
			check(t, err)
			if sound := name == "sound"; sound != (done.Kept == "") || sound != (len(done.Faults) == 0) {
				t.Errorf("got repair result %+v", done)
			}
			s := openStore(t, mustOpen(t, path))
			for _, tok := range tokens {
				authenticate(t, s, tok)
			}
		})
	}
	if _, err := Repair(filepath.Join(t.TempDir(), "missing.db"), testTime); err == nil {
		t.Error("Repair accepted a missing file")
	}
	path := newPath(t)
	mustOpen(t, path)
	if _, err := Repair(path, testTime); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("repairing a store in use: got err %v, want an error saying that it is in use", err)
	}
}

// TestCompact verifies that Compact shrinks the file to the size of its content while the file
// is being read and changed.
func TestCompact(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := openStore(t, b)
	kept := makeToken(t, s)
	s.CountAllowed(authenticate(t, s, kept), "a:b", tokenstore.LastUse{Time: testTime})
	for range 3 {
		var deleted []token.ID
		for range 200 {
			deleted = append(deleted, makeToken(t, s).ID)
		}
		for _, id := range deleted {
			check(t, s.Delete(id, token.AnyVersion, testActor))
		}
	}
	check(t, b.update(func(tx *bbolt.Tx) error { // removes their audit entries
		return prune(tx, auditBucket, func([]byte) bool { return true }, nil)
	}))
	check(t,
		b.update(func(tx *bbolt.Tx) error { return prune(tx, auditBucket, func([]byte) bool { return true }, nil) }))
	reading, read := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- b.view(func(tx *bbolt.Tx) error { // continues in the old file
			close(reading)
			<-read
			if _, err := readToken(tx, kept.ID); err != nil {
				return err
			}
			return nil
		})
	}()
	<-reading
	before, after, err := s.Compact(testActor)
	check(t, err)
	if after >= before || after > 256<<10 {
		t.Errorf("Compact changed the size from %d to %d bytes", before, after)
	}
	sequence := b.Sequence()
	makeToken(t, s)
	close(read)
	check(t, <-done)
	if b.Sequence() <= sequence {
		t.Error("the sequence number did not increase")
	}
	if got, err := s.Get(kept.ID); err != nil || got.Usage.Allowed != 1 {
		t.Errorf("got usage %+v, err %v, want 1 allowed request", got.Usage, err)
	}
	check(t, s.Close())
	if report, err := Check(path); err != nil || len(report.Problems) > 0 || report.Tokens != 2 {
		t.Errorf("Check: got %+v, err %v, want 2 tokens and no problems", report, err)
	}
	s = openStore(t, mustOpen(t, path)) // the journal still belongs to the store
	check(t, s.Close())
	if left, _ := filepath.Glob(path + ".[dn]*"); len(left) > 0 {
		t.Errorf("files were left behind: %v", left)
	}
}

// TestDamageWhileOpen verifies that a call that finds damage in an open store triggers a
// rebuild and that all changes succeed.
func TestDamageWhileOpen(t *testing.T) {
	t.Parallel()
	path, tokens := filledStore(t, 200)
	b := mustOpen(t, path)
	s := openStore(t, b)
	var page int
	var pageSize int64
	check(t, b.view(func(tx *bbolt.Tx) error {
		pageSize = int64(tx.DB().Info().PageSize)
		for page = int(tx.Bucket(auditBucket).Root()); ; {
			info, err := tx.Page(page)
			if err != nil || info.Type == "leaf" {
				return err
			}
			page = int(lastChild(t, path, page, pageSize))
		}
	}))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	_, err = file.WriteAt(make([]byte, pageSize), int64(page)*pageSize)
	check(t, errors.Join(err, file.Close()))
	for _, tok := range tokens {
		if _, err := s.Revoke(tok.ID, token.AnyVersion, testActor); err != nil {
			t.Fatalf("revoking: %v", err)
		}
	}
	if health := s.Health(); len(health.Repairs) != 1 || health.Write != nil || health.Damaged != 0 {
		t.Errorf("got health %+v, want one repair and no damaged tokens", health)
	}
	check(t, s.Close())
	if report, err := Check(path); err != nil || len(report.Problems) > 0 {
		t.Errorf("Check: got %+v, err %v, want no problems", report, err)
	}
}

// lastChild returns the page that a branch page's last entry refers to.
func lastChild(t *testing.T, path string, page int, pageSize int64) uint64 {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	defer file.Close()
	raw := make([]byte, pageSize)
	_, err = file.ReadAt(raw, int64(page)*pageSize)
	check(t, err)
	count := int64(raw[10]) | int64(raw[11])<<8
	return nativeUint64(raw[16+(count-1)*16+8:])
}

// TestGrowth verifies that the file can grow during a slow read and that this doesn't block
// other calls.
func TestGrowth(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	tok := makeToken(t, s)
	reading, read := make(chan struct{}), make(chan struct{})
	defer close(read)
	go func() {
		_ = b.view(func(*bbolt.Tx) error {
			close(reading)
			<-read
			return nil
		})
	}()
	<-reading
	check(t, within(t, "growing", func() error {
		for range 20 {
			err := b.update(func(tx *bbolt.Tx) error {
				return tx.Bucket(auditBucket).Put([]byte(strings.Repeat("k", 16)), make([]byte, 1<<20))
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	if size := b.Health().Size; size < 16<<20 {
		t.Errorf("the file has only %d bytes, so it didn't grow", size)
	}
	check(t, within(t, "reading", func() error {
		_, err := b.Token(tok.ID)
		return err
	}))
}

// TestRestoreKeepsAccess verifies that a restored store has the old store's owner and mode,
// even if root restores it.
func TestRestoreKeepsAccess(t *testing.T) {
	t.Parallel()
	path, _ := filledStore(t, 3)
	s := openStore(t, mustOpen(t, path))
	backup := saveBackup(t, s)
	check(t, s.Close())
	check(t, os.Chmod(path, 0o640))
	if os.Geteuid() == 0 {
		check(t, os.Chown(path, 65534, 65533))
	}
	before, err := os.Stat(path)
	check(t, err)
	_, err = Restore(backup, path, testTime)
	check(t, err)
	after, err := os.Stat(path)
	check(t, err)
	if after.Mode() != before.Mode() || !sameOwner(before, after) {
		t.Errorf("got owner and mode %v, want %v", after, before)
	}
}

// TestReplacedWhileWaiting verifies that lockPath opens the file at the path even if the file
// is replaced while lockPath waits for the lock.
func TestReplacedWhileWaiting(t *testing.T) {
	t.Parallel()
	path, _ := filledStore(t, 3)
	other, _ := filledStore(t, 5)
	holder := mustOpen(t, path)
	opened := make(chan *os.File)
	go func() {
		file, err := storeFormat.lockPath(path)
		if err != nil {
			t.Error(err)
		}
		opened <- file
	}()
	for len(openFiles(t, path)) < 2 { // one descriptor is the holder's, the other is lockPath's
		runtime.Gosched()
	}
	check(t, os.Rename(other, path))
	check(t, holder.Close())
	file := <-opened
	if file == nil || !isAt(file, path) {
		t.Error("the opened file is no longer at the path")
	}
	check(t, file.Close())
}

// TestMissingTokenRecord verifies that a token counts as damaged, not as unknown, if only an
// index entry or its usage remains.
func TestMissingTokenRecord(t *testing.T) {
	t.Parallel()
	path, tokens := filledStore(t, 4)
	b := mustOpen(t, path)
	check(t, b.update(func(tx *bbolt.Tx) error {
		var err error
		for i, tok := range tokens[:2] {
			err = errors.Join(err, tx.Bucket(tokensBucket).Delete(tok.ID[:]),
				tx.Bucket(digestsBucket).Delete(tok.Digest[:]))
			if i == 0 { // it has usage
				err = errors.Join(err, tx.Bucket(createdBucket).Delete(orderKey(tokenstore.OrderCreated, tok.Token)))
			}
		}
		return err
	}))
	check(t, b.Close())
	s := openStore(t, mustOpen(t, path))
	for i, tok := range tokens {
		if _, err := s.Authenticate(tok.credential, testTime); errors.Is(err, token.ErrDamaged) != (i < 2) ||
			errors.Is(err, tokenstore.ErrNotFound) {
			t.Errorf("reading token %d: got err %v", i, err)
		}
	}
	check(t, s.Close())
	checkRepaired(t, path)
}

// TestLostUsageOfWholeDays verifies that a lost usage record is recreated from days whose hours
// have been added up, and that deleting the token deletes these days.
func TestLostUsageOfWholeDays(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	for range 200 { // fill a page of usage records
		tok := makeToken(t, s)
		save(t, b, map[token.ID]tokenstore.Usage{
			tok.ID: {Allowed: 9, Denied: 9,
				Days: []tokenstore.DayUsage{usedOn(today-1, 3).AsWhole(), usedOn(today, 1)}},
		})
	}
	check(t, s.Close())
	damageLeaf(t, b.path, usageBucket)
	b = mustOpen(t, b.path)
	s = openStore(t, b)
	restored := 0
	for _, record := range records(t, b, TokensTable) {
		usage, _, err := b.Usage(token.ID(record.Key), today-1, today)
		check(t, err)
		if usage.Denied == 0 {
			restored++
			if len(usage.Days) != 1 || usage.Allowed != 9 || !usage.Days[0].Whole {
				t.Fatalf("got restored usage %+v, want one day without hours", usage)
			}
			check(t, s.Delete(token.ID(record.Key), token.AnyVersion, testActor))
		}
	}
	if restored == 0 {
		t.Error("no usage was lost")
	}
	check(t, s.Close())
	if report, err := Check(b.path); err != nil || len(report.Problems) > 0 {
		t.Errorf("got problems %q, err %v, want none", report.Problems, err)
	}
}
