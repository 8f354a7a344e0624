package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// TestWrongKind verifies that stores and replicas can't be used as each other, even if the
// version in the file is damaged, and that the attempt doesn't change the file.
func TestWrongKind(t *testing.T) {
	t.Parallel()
	openStore := func(path string) error { return openAndClose(path) }
	openReplica := func(path string) error {
		r, err := OpenReplica(path)
		if err == nil {
			_ = r.Close()
		}
		return err
	}
	missing := newPath(t)
	if err := InspectReplica(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("InspectReplica of a missing file: got err %v, want fs.ErrNotExist", err)
	}
	for _, damaged := range []bool{false, true} {
		store, replica := newPath(t), newPath(t)
		check(t, mustOpen(t, store).Close())
		r := mustOpenReplica(t, replica)
		if damaged {
			check(t, r.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte("x")) }))
		}
		check(t, r.Close())
		before := files(t, store[:strings.LastIndex(store, "/")])
		replicaBefore := files(t, replica[:strings.LastIndex(replica, "/")])
		isReplica, isStore := "is a replica of a shared store", "not a replica of a shared store"
		restore := func(backup, path string) func(string) error {
			return func(string) error {
				_, err := Restore(backup, path, testTime)
				return err
			}
		}
		for what, c := range map[string]struct {
			call func(string) error
			path string
			want string
		}{
			"Inspect":             {Inspect, replica, isReplica},
			"Open":                {openStore, replica, isReplica},
			"InspectReplica":      {InspectReplica, store, isStore},
			"OpenReplica":         {openReplica, store, isStore},
			"Restore over":        {restore(store, replica), replica, isReplica},
			"Restore of":          {restore(replica, store), replica, isReplica},
			"Restore to nothing":  {restore(replica, missing), replica, isReplica},
			"Restore over itself": {restore(replica, replica), replica, isReplica},
		} {
			if err := c.call(c.path); err == nil || strings.Count(err.Error(), c.want) != 1 ||
				!strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), "name another file") {
				t.Errorf("%s, damaged %v: got err %v, want one with the path, %q and advice", what, damaged, err,
					c.want)
			}
		}
		if !reflect.DeepEqual(files(t, store[:strings.LastIndex(store, "/")]), before) ||
			!reflect.DeepEqual(files(t, replica[:strings.LastIndex(replica, "/")]), replicaBefore) {
			t.Error("a file was changed")
		}
		for what, err := range map[string]error{
			"InspectReplica": InspectReplica(replica), "OpenReplica": openReplica(replica),
			"Inspect": Inspect(store), "Open": openStore(store),
		} {
			if err != nil {
				t.Errorf("%s of the right kind, damaged %v: %v", what, damaged, err)
			}
		}
	}
}

// TestVersionBits flips each bit of the version of a store and of a replica. The file must keep
// its kind, whether it is repaired or opened as either kind.
func TestVersionBits(t *testing.T) {
	t.Parallel()
	store, _ := filledStore(t, 1)
	replica, _ := filledReplica(t, 1)
	openReplica := func(path string) (*Backend, error) {
		r, err := OpenReplica(path)
		if err != nil {
			return nil, err
		}
		return r.Backend, nil
	}
	for _, kind := range []struct {
		format      format
		path        string
		open, wrong func(string) (*Backend, error)
	}{{storeFormat, store, Open, openReplica}, {replicaFormat, replica, openReplica, Open}} {
		for bit := range 32 {
			path := copied(t, kind.path)
			b, err := kind.open(path)
			check(t, err)
			check(t, b.update(func(tx *bbolt.Tx) error {
				version := binary.BigEndian.AppendUint32(nil, uint32(kind.format)^1<<bit)
				return tx.Bucket(metaBucket).Put(versionKey, version)
			}))
			check(t, b.Close())
			want := files(t, filepath.Dir(path))
			if b, err := kind.wrong(path); err == nil {
				t.Errorf("format %x, bit %d: opened as the other kind", uint32(kind.format), bit)
				check(t, b.Close())
			}
			if b, err := kind.open(path); err == nil {
				check(t, b.Close())
			} else if !strings.Contains(err.Error(), "schema version") ||
				strings.Contains(err.Error(), fmt.Sprint(uint32(replicaFormat)^1<<bit)) {
				t.Errorf("format %x, bit %d: got err %v", uint32(kind.format), bit, err)
			}
			done, err := Repair(path, testTime)
			if err != nil || len(done.Lost.Records) > 0 {
				t.Errorf("format %x, bit %d: got repair %+v, err %v", uint32(kind.format), bit, done, err)
			}
			if done.Kept == "" && !maps.Equal(files(t, filepath.Dir(path)), want) {
				t.Errorf("format %x, bit %d: the file was changed", uint32(kind.format), bit)
			}
			content := structureOf(t, path).File()
			if got := formatOf(content); got != kind.format {
				t.Errorf("format %x, bit %d: got format %x after the repair", uint32(kind.format), bit, uint32(got))
			}
			if content.HasBucket(elsewhereBucket) != (kind.format == replicaFormat) {
				t.Errorf("format %x, bit %d: the file has the other kind's buckets", uint32(kind.format), bit)
			}
		}
	}
}

// structureOf verifies the pages of a file.
func structureOf(t testing.TB, path string) *boltfile.Structure {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	t.Cleanup(func() { _ = file.Close() })
	structure, err := verify(file)
	check(t, err)
	return structure
}

func TestMissingReplicaWithJournal(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	check(t, os.WriteFile(path+journalSuffix, nil, 0o600))
	if err := InspectReplica(path); err == nil || !strings.Contains(err.Error(), "copy the shared store again") {
		t.Errorf("got err %v, want advice", err)
	}
}

// longNote is a note that needs a page of its own.
var longNote = strings.Repeat("note", 512)

// filledReplica returns a closed replica with n tokens and the note longNote.
func filledReplica(t *testing.T, n int) (path string, u Update) {
	t.Helper()
	r := mustOpenReplica(t, newPath(t))
	u = Update{Note: []byte(longNote)}
	for i := range n {
		tok := sharedToken(i, fmt.Sprint("new", i), fmt.Sprint("old", i))
		entry := tokenstore.AuditEntry{Time: testTime, TokenID: tok.ID}
		key := auditKey(tokenstore.AuditPosition{Time: entry.Time, Sequence: uint64(2 * i)})
		request := tokenstore.KeptRequest{Key: token.DigestOf(fmt.Sprint("key", i)), Body: token.DigestOf("body"),
			ID: tok.ID, Time: testTime}
		ended := tokenstore.EndedSecret{Digest: token.DigestOf(fmt.Sprint("ended", i)), At: testTime}
		u.Records = append(u.Records, tokenRecord(tok),
			Record{AuditTable, key, tokenstore.EncodeAuditEntry(key, entry)},
			Record{RequestsTable, bytes.Clone(request.Key[:]), tokenstore.EncodeRequest(request)},
			Record{EndedTable, bytes.Clone(ended.Digest[:]), tokenstore.EncodeEnded(ended)})
		u.Usage = append(u.Usage, nodeUsage("a", tok, 1, usedOn(today-1, 1), usedOn(today, 1)),
			nodeUsage("node-b", tok, 2, usedOn(today-1, 2), usedOn(today, 2)))
	}
	for i := range tokenstore.Day(100) {
		u.Totals = append(u.Totals, NodeTotal{"a", total(today-i, 1)}, NodeTotal{"12345678", total(today-i, 2)})
	}
	check(t, r.Follow(u))
	usages := make(map[token.ID]tokenstore.Usage)
	for i := range n {
		usages[sharedToken(i, "").ID] = tokenstore.Usage{Allowed: 1,
			Days: []tokenstore.DayUsage{usedOn(today-1, 1), usedOn(today, 1)}}
	}
	save(t, r.Backend, usages)
	check(t, checkSound(t, r).Close())
	return r.path, u
}

// TestReplicaDamage damages a page in each bucket in turn, or an entry. After the rebuild, the
// replica must be incomplete and sound, and must be complete once it has followed again.
func TestReplicaDamage(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, path string) *Replica {
		r := mustOpenReplica(t, path)
		if len(r.Health().Repairs) != 1 {
			t.Errorf("got repairs %+v, want one", r.Health().Repairs)
		}
		return r
	}
	repair := func(t *testing.T, path string) *Replica {
		done, err := Repair(path, testTime)
		if err != nil || len(done.Faults) == 0 {
			t.Fatalf("got repair %+v, err %v", done, err)
		}
		return mustOpenReplica(t, path)
	}
	for _, bucket := range append(replicaFormat.buckets(), noteBucket) {
		for way, rebuild := range map[string]func(t *testing.T, path string) *Replica{
			"open": func(t *testing.T, path string) *Replica {
				damageLeaf(t, path, bucket)
				return open(t, path)
			},
			"repair": func(t *testing.T, path string) *Replica {
				damageLeaf(t, path, bucket)
				return repair(t, path)
			},
			"while open": func(t *testing.T, path string) *Replica { return damageOpenReplica(t, path, bucket) },
		} {
			t.Run("page/"+string(bucket)+"/"+way, func(t *testing.T) {
				t.Parallel()
				testReplicaDamage(t, bucket, rebuild)
			})
		}
	}
	for _, bucket := range [][]byte{tokensBucket, noteBucket} {
		for way, rebuild := range map[string]func(t *testing.T, path string) *Replica{"open": open, "repair": repair} {
			t.Run("entry/"+string(bucket)+"/"+way, func(t *testing.T) {
				t.Parallel()
				testReplicaDamage(t, bucket, func(t *testing.T, path string) *Replica {
					r := mustOpenReplica(t, path)
					damageRecord(t, r.Backend, bucket)
					check(t, r.Close())
					return rebuild(t, path)
				})
			})
		}
	}
}

// testReplicaDamage checks a replica that rebuild damages in the given bucket and rebuilds.
func testReplicaDamage(t *testing.T, damaged []byte, rebuild func(t *testing.T, path string) *Replica) {
	path, u := filledReplica(t, 200)
	want := snapshotOf(t, path)
	r := rebuild(t, path)
	note := longNote
	if bytes.Equal(damaged, noteBucket) {
		note = ""
	}
	checkNoteState(t, r, note, false)
	r = checkSound(t, r)
	check(t, r.Follow(Update{Note: []byte("not yet")}))
	checkNoteState(t, r, "not yet", false)
	u.Note, u.Complete = []byte("again"), true
	check(t, r.Follow(u))
	checkNoteIs(t, r, "again")
	r = checkSound(t, r)
	if n := r.Health().Damaged; n > 0 {
		t.Errorf("got %d damaged tokens, want none", n)
	}
	got := snapshotOf(t, r.path)
	// Following undoes all damage except to this node's own usage. The rebuild recreates a lost usage
	// record from the token's day records and moves the newest one into it.
	lost := map[string][]string{"usage": {"usage", "days"}, "days": {"days"}}[string(damaged)]
	for bucket := range want {
		if !slices.Contains(lost, bucket) && !reflect.DeepEqual(got[bucket], want[bucket]) {
			t.Errorf("bucket %q: got %d entries, want the same %d", bucket, len(got[bucket]), len(want[bucket]))
		}
	}
}

// damageOpenReplica opens a replica, damages a page of a bucket and has it rebuilt.
func damageOpenReplica(t *testing.T, path string, name []byte) *Replica {
	t.Helper()
	r := openDamaged(t, path, name)
	r.writing.Lock()
	defer r.writing.Unlock()
	r.rebuildCurrent(r.current.Load(), []string{"test"}, true)
	return r
}

// openDamaged opens a replica and then damages a page of a bucket.
func openDamaged(t *testing.T, path string, name []byte) *Replica {
	t.Helper()
	damaged := copied(t, path)
	damageLeaf(t, damaged, name)
	r := mustOpenReplica(t, path)
	content, err := os.ReadFile(damaged)
	check(t, err)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	check(t, err)
	_, err = file.Write(content)
	check(t, errors.Join(err, file.Close()))
	return r
}

// TestReplicaBackupPageDamage verifies that a backup that finds a damaged page has the replica
// rebuilt.
func TestReplicaBackupPageDamage(t *testing.T) {
	t.Parallel()
	path, _ := filledReplica(t, 200)
	r := openDamaged(t, path, auditBucket)
	if _, _, err := r.Backup(); !errors.Is(err, errDamage) || !errors.Is(err, tokenstore.ErrUnavailable) {
		t.Errorf("got err %v, want damage", err)
	}
	r.background.group.Wait()
	if n := len(r.Health().Repairs); n != 1 {
		t.Errorf("got %d repairs, want 1", n)
	}
	check(t, openBackup(t, r).Close())
}

// TestAuditLosses verifies that the gaps in a store's sequence numbers count as lost audit entries,
// unless the numbers come from a shared store.
func TestAuditLosses(t *testing.T) {
	t.Parallel()
	path, _ := filledReplica(t, 200) // uses every other number
	r := mustOpenReplica(t, path)
	for _, shared := range []bool{false, true} {
		if shared {
			key := auditKey(tokenstore.AuditPosition{Time: testTime, Sequence: uint64(testTime.UnixMicro()) << 12})
			entry := tokenstore.AuditEntry{Time: testTime}
			follow(t, r, Record{AuditTable, key, tokenstore.EncodeAuditEntry(key, entry)})
		}
		path := newPath(t)
		_, err := Restore(saveBackup(t, r), path, testTime)
		check(t, err)
		damageLeaf(t, path, auditBucket)
		done, err := Repair(path, testTime)
		check(t, err)
		what := "an unknown number of entries"
		if !shared {
			what = fmt.Sprintf("%d entries", len(records(t, mustOpen(t, path), AuditTable))-1)
		}
		if want := []tokenstore.Loss{{Bucket: "audit", What: what}}; !reflect.DeepEqual(done.Lost.Records, want) {
			t.Errorf("got losses %+v, want %+v", done.Lost.Records, want)
		}
	}
}

// snapshotOf returns the shared records and the usage in a replica, by bucket.
func snapshotOf(t testing.TB, path string) map[string]map[string]string {
	t.Helper()
	r := mustOpenReplica(t, copied(t, path))
	defer func() { check(t, r.Close()) }()
	found := make(map[string]map[string]string)
	check(t, r.view(func(tx *bbolt.Tx) error {
		for _, name := range append(replicaFormat.buckets(), endedBucket, totalsBucket) {
			entries := make(map[string]string)
			found[string(name)] = entries
			check(t, tx.Bucket(name).ForEach(func(key, value []byte) error {
				entries[string(key)] = string(value)
				return nil
			}))
		}
		return nil
	}))
	return found
}

// damageRoot overwrites a file's root page.
func damageRoot(t testing.TB, path string) {
	t.Helper()
	db, err := bbolt.Open(path, fileMode, nil)
	check(t, err)
	var root int64
	check(t, db.View(func(tx *bbolt.Tx) error { root = int64(tx.Cursor().Bucket().Root()); return nil }))
	pageSize := int64(db.Info().PageSize)
	check(t, db.Close())
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	_, err = file.WriteAt(bytes.Repeat([]byte("damage"), int(pageSize)/6), root*pageSize)
	check(t, errors.Join(err, file.Close()))
}

// TestReplicaRootDamage verifies that Open refuses a replica whose root page is damaged, and that
// Repair recognizes it by any of the records that only a replica has.
func TestReplicaRootDamage(t *testing.T) {
	t.Parallel()
	var tokens, users Update
	for i := range 200 {
		tok := sharedToken(i, fmt.Sprint(i))
		tok.UpdatedAt = testTime
		tokens.Records = append(tokens.Records, tokenRecord(tok))
		users.Usage = append(users.Usage, nodeUsage("node", tok, 1))
	}
	users.Records = tokens.Records
	note := tokens
	note.Note = []byte(longNote)
	days, dayTotals := tokens, tokens
	for i := range tokenstore.Day(100) {
		days.Usage = append(days.Usage, nodeUsage("node", sharedToken(1, "1"), 1, usedOn(today-i, 1)))
		dayTotals.Totals = append(dayTotals.Totals, NodeTotal{"node", total(today-i, 1)})
	}
	for name, u := range map[string]Update{"note": note, "usage": users, "days": days, "totals": dayTotals} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := mustOpenReplica(t, newPath(t))
			path := r.path
			check(t, r.Follow(u))
			check(t, r.Close())
			damageRoot(t, path)
			before := files(t, filepath.Dir(path))
			if err := openAndClose(path); !errors.Is(err, errReplica) {
				t.Errorf("Open: got err %v, want that it is a replica", err)
			}
			if !maps.Equal(files(t, filepath.Dir(path)), before) {
				t.Error("Open changed the file")
			}
			done, err := Repair(path, testTime)
			check(t, err)
			lost := slices.Contains(done.Lost.Records, tokenstore.Loss{Bucket: "note", What: "the replica's note"})
			if lost != (u.Note == nil) {
				t.Errorf("got losses %+v", done.Lost.Records)
			}
			r = mustOpenReplica(t, path)
			checkNoteState(t, r, string(u.Note), false)
			check(t, r.Follow(u))
			if n := checkSound(t, r).Health().Damaged; n > 0 {
				t.Errorf("got %d damaged tokens, want none", n)
			}
		})
	}
}

// TestStoreRootDamage verifies that no record of a store is mistaken for one of a replica.
func TestStoreRootDamage(t *testing.T) {
	t.Parallel()
	path, tokens := filledStore(t, 200)
	damageRoot(t, path)
	s := openStore(t, mustOpen(t, path))
	for _, tok := range tokens {
		authenticate(t, s, tok)
	}
}

// TestElsewhereLosses verifies that a rebuild reports how many records of other nodes' usage it lost
// from each bucket, and not each of them.
func TestElsewhereLosses(t *testing.T) {
	t.Parallel()
	path, _ := filledReplica(t, 10)
	r := mustOpenReplica(t, path)
	check(t, r.update(func(tx *bbolt.Tx) error {
		for range 2 {
			key, _ := tx.Bucket(elsewhereBucket).Cursor().First()
			check(t, tx.Bucket(elsewhereBucket).Delete(key)) // its two days can't be found any more
		}
		return tx.Bucket(totalsElsewhereBucket).Put([]byte("a"), nil)
	}))
	check(t, r.Close())
	done, err := Repair(path, testTime)
	want := []tokenstore.Loss{{Bucket: "days elsewhere", What: "records of other nodes' usage, 4 in total"},
		{Bucket: "totals elsewhere", What: "records of other nodes' usage, 1 in total"}}
	if err != nil || !reflect.DeepEqual(done.Lost.Records, want) {
		t.Errorf("got losses %+v, err %v, want %+v", done.Lost.Records, err, want)
	}
	checkSound(t, mustOpenReplica(t, path))
}

func TestReplicaCompact(t *testing.T) {
	t.Parallel()
	path, _ := filledReplica(t, 300)
	want := snapshotOf(t, path)
	r := mustOpenReplica(t, path)
	if _, _, err := r.Compact(); err != nil {
		t.Fatal(err)
	}
	checkNoteIs(t, r, longNote)
	r = checkSound(t, r)
	checkNoteIs(t, r, longNote)
	if got := snapshotOf(t, path); !reflect.DeepEqual(got, want) {
		t.Error("Compact changed the content")
	}
	if len(r.Health().Repairs) > 0 {
		t.Errorf("got repairs %+v, want none", r.Health().Repairs)
	}
}
