package bolt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func mustOpenReplica(t testing.TB, path string) *Replica {
	t.Helper()
	r, err := OpenReplica(path)
	check(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// sharedToken returns a token whose secrets have the digests of the given texts.
func sharedToken(i int, secret string, previous ...string) *token.Token {
	tok := &token.Token{
		ID:    token.ID([]byte(fmt.Sprintf("token%07d", i))),
		Terms: token.Terms{Kind: token.KindAPI}, Format: token.FormatNative, CreatedAt: testTime,
		ExpiresAt: testTime.AddDate(0, 0, i+1), Digest: sha256.Sum256([]byte(secret)), Version: 1,
	}
	for _, text := range previous {
		tok.PreviousDigest = sha256.Sum256([]byte(text))
	}
	return tok
}

func tokenRecord(tok *token.Token) Record {
	return Record{TokensTable, bytes.Clone(tok.ID[:]), token.EncodeToken(tok)}
}

func deletion(tok *token.Token) Record {
	return Record{Table: TokensTable, Key: bytes.Clone(tok.ID[:])}
}

func follow(t testing.TB, r *Replica, records ...Record) {
	t.Helper()
	check(t, r.Follow(Update{Records: records}))
}

// checkOwners verifies which token each secret belongs to. An ID of zero means that the secret
// is unknown.
func checkOwners(t testing.TB, r *Replica, want map[string]token.ID) {
	t.Helper()
	for secret, id := range want {
		got, err := r.IDOf(sha256.Sum256([]byte(secret)))
		if got != id || (id == token.ID{}) != errors.Is(err, tokenstore.ErrNotFound) {
			t.Errorf("secret %q: got token %q, err %v, want token %q", secret, got, err, id)
		}
	}
}

// checkSound closes a replica, checks its file and opens it again.
func checkSound(t testing.TB, r *Replica) *Replica {
	t.Helper()
	damaged := r.Health().Damaged
	check(t, r.Close())
	report, err := Check(r.path)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("got problems %q, err %v, want none", report.Problems, err)
	}
	if len(report.Damaged) != damaged {
		t.Errorf("Health counted %d damaged tokens, want %d", damaged, len(report.Damaged))
	}
	r = mustOpenReplica(t, r.path)
	if n := len(r.Health().Repairs); n > 0 {
		t.Errorf("opening the replica repaired it %d times, want 0", n)
	}
	return r
}

func checkStored(t testing.TB, r *Replica, want *token.Token) {
	t.Helper()
	if got, err := r.Token(want.ID); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got token %+v, err %v, want %+v", got, err, want)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	r := mustOpenReplica(t, newPath(t))
	one, two := sharedToken(1, "a"), sharedToken(2, "b")
	before := r.Sequence()
	follow(t, r, tokenRecord(one), tokenRecord(two))
	if got := r.Sequence(); got <= before {
		t.Errorf("got sequence %d, want more than %d", got, before)
	}
	checkStored(t, r, one)
	checkOwners(t, r, map[string]token.ID{"a": one.ID, "b": two.ID, "c": {}})

	// Rotate one and change the expiry of two.
	one, two = sharedToken(1, "c", "a"), sharedToken(2, "b")
	two.ExpiresAt = time.Time{}
	follow(t, r, tokenRecord(one), tokenRecord(two))
	checkOwners(t, r, map[string]token.ID{"a": one.ID, "b": two.ID, "c": one.ID})
	one = sharedToken(1, "d", "c")
	follow(t, r, tokenRecord(one))
	checkOwners(t, r, map[string]token.ID{"a": {}, "c": one.ID, "d": one.ID})
	r = checkSound(t, r)
	checkConsistent(t, r.Backend)

	follow(t, r, deletion(one), deletion(sharedToken(3, "e")))
	if _, err := r.Token(one.ID); !errors.Is(err, tokenstore.ErrNotFound) {
		t.Errorf("a deleted token: got err %v, want ErrNotFound", err)
	}
	checkOwners(t, r, map[string]token.ID{"c": {}, "d": {}, "b": two.ID})
	checkConsistent(t, checkSound(t, r).Backend)
}

func TestReplicaRefusesApply(t *testing.T) {
	t.Parallel()
	r := mustOpenReplica(t, newPath(t))
	_, err := r.Apply(sharedToken(1, "a").ID, testTime, func(*token.Token) (tokenstore.Change, error) {
		return tokenstore.Change{Token: sharedToken(1, "a")}, nil
	})
	if !errors.Is(err, tokenstore.ErrUnavailable) {
		t.Errorf("got err %v, want ErrUnavailable", err)
	}
}

// TestFollowDamaged verifies that a token whose record can't be decoded keeps its secrets and its
// positions until a good record comes or the token is deleted.
func TestFollowDamaged(t *testing.T) {
	t.Parallel()
	for _, reopened := range []bool{false, true} {
		r := mustOpenReplica(t, newPath(t))
		one, other := sharedToken(1, "b", "a"), sharedToken(2, "c")
		follow(t, r, tokenRecord(one), tokenRecord(other))
		bad := tokenRecord(one)
		bad.Value[0] ^= 1
		unknown := Record{TokensTable, []byte("unknown00000"), []byte("x")}
		follow(t, r, bad, unknown)
		follow(t, r, bad)
		if n := r.Health().Damaged; n != 2 {
			t.Errorf("got %d damaged tokens, want 2", n)
		}
		if _, err := r.Token(one.ID); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("got err %v, want ErrDamaged", err)
		}
		checkOwners(t, r, map[string]token.ID{"a": one.ID, "b": one.ID})
		var listed []tokenstore.Position
		check(t, r.List(tokenstore.OrderCreated, nil, false, func(tok *token.Token) bool {
			listed = append(listed, tokenstore.OrderCreated.PositionOf(tok))
			return true
		}))
		want := []tokenstore.Position{{ID: token.ID(unknown.Key)}, {Time: testTime, ID: one.ID},
			{Time: testTime, ID: other.ID}}
		if !slices.EqualFunc(listed, want, func(a, b tokenstore.Position) bool {
			return a.Time.Equal(b.Time) && a.ID == b.ID
		}) {
			t.Errorf("got positions %v, want %v", listed, want)
		}
		if reopened {
			r = checkSound(t, r)
		}
		one = sharedToken(1, "d", "b")
		one.CreatedAt = testTime.Add(time.Hour)
		follow(t, r, tokenRecord(one), Record{TokensTable, unknown.Key, nil})
		checkOwners(t, r, map[string]token.ID{"a": {}, "b": one.ID, "d": one.ID})
		if n := r.Health().Damaged; n != 0 {
			t.Errorf("got %d damaged tokens after good records, want 0", n)
		}
		checkConsistent(t, checkSound(t, r).Backend)
	}
}

// TestFollowDamagedDelete verifies that deleting a damaged token doesn't create ended records.
func TestFollowDamagedDelete(t *testing.T) {
	t.Parallel()
	r := mustOpenReplica(t, newPath(t))
	one := sharedToken(1, "b", "a")
	follow(t, r, tokenRecord(one), Record{TokensTable, one.ID[:], []byte{}}, deletion(one))
	checkOwners(t, r, map[string]token.ID{"a": {}, "b": {}})
	check(t, r.Records(EndedTable, nil, func(key, _ []byte) bool {
		t.Errorf("got ended record %x, want none", key)
		return true
	}))
	checkConsistent(t, checkSound(t, r).Backend)
}

// TestFollowSameDigest verifies that a secret that moves to another token belongs to the token
// whose record came last, and that the other token becomes damaged.
func TestFollowSameDigest(t *testing.T) {
	t.Parallel()
	for _, together := range []bool{false, true} {
		r := mustOpenReplica(t, newPath(t))
		one, two := sharedToken(1, "a", "old"), sharedToken(2, "a", "older")
		if together {
			follow(t, r, tokenRecord(one), tokenRecord(two))
		} else {
			follow(t, r, tokenRecord(one))
			follow(t, r, tokenRecord(two))
		}
		checkOwners(t, r, map[string]token.ID{"a": two.ID, "old": one.ID, "older": two.ID})
		checkStored(t, r, two)
		if _, err := r.Token(one.ID); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("got err %v, want ErrDamaged", err)
		}
		r = checkSound(t, r)
		follow(t, r, tokenRecord(one)) // takes the secret back
		checkOwners(t, r, map[string]token.ID{"a": one.ID, "old": one.ID, "older": two.ID})
		r = checkSound(t, r)
		two = sharedToken(2, "b")
		follow(t, r, tokenRecord(two))
		checkOwners(t, r, map[string]token.ID{"a": one.ID, "b": two.ID, "older": {}})
		checkStored(t, r, one)
		r = checkSound(t, r)
		checkConsistent(t, r.Backend)
		// A secret can move together with the other token's new secret, in any order.
		one, two = sharedToken(1, "b"), sharedToken(2, "a")
		follow(t, r, tokenRecord(one), tokenRecord(two))
		follow(t, r, tokenRecord(one))
		checkStored(t, r, one)
		checkStored(t, r, two)
		if n := r.Health().Damaged; n != 0 {
			t.Errorf("got %d damaged tokens, want 0", n)
		}
		checkConsistent(t, checkSound(t, r).Backend)
	}
}

// records returns the entries of a table.
func records(t testing.TB, b *Backend, table Table) (found []Record) {
	t.Helper()
	check(t, b.Records(table, nil, func(key, value []byte) bool {
		found = append(found, Record{table, bytes.Clone(key), bytes.Clone(value)})
		return true
	}))
	return found
}

// TestFollowStore verifies that a replica that follows all records of a store has the same records,
// and that deleting them leaves no index entries behind.
func TestFollowStore(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	month, err := token.ParseLifetime("1mo")
	check(t, err)
	for i := range 5 {
		draft := token.Draft{Kind: token.KindAPI, Name: "test", Preset: "full", Expiry: token.Expiry{ExpiresIn: month}}
		_, _, _, err := s.CreateOnce(testPolicy, draft, testActor, tokenstore.Request{Key: fmt.Sprint(i)})
		check(t, err)
	}
	check(t, b.update(func(tx *bbolt.Tx) error {
		return putEnded(tx, tokenstore.EndedSecret{Digest: sha256.Sum256([]byte("x")), At: testTime}, false)
	}))
	r := mustOpenReplica(t, newPath(t))
	tables := []Table{TokensTable, EndedTable, AuditTable, RequestsTable}
	var all []Record
	for _, table := range tables {
		all = append(all, records(t, b, table)...)
	}
	for range 2 { // the second time changes nothing
		follow(t, r, all...)
		for _, table := range tables {
			if want, got := records(t, b, table), records(t, r.Backend, table); !reflect.DeepEqual(got, want) ||
				len(got) == 0 {
				t.Errorf("table %d: got %d records, want %d equal ones", table, len(got), len(want))
			}
		}
	}
	var after []Record
	check(t, r.Records(TokensTable, all[1].Key, func(key, value []byte) bool {
		after = append(after, Record{TokensTable, bytes.Clone(key), bytes.Clone(value)})
		return len(after) < 2
	}))
	if !reflect.DeepEqual(after, all[2:4]) {
		t.Errorf("got records %v after the second, want %v", after, all[2:4])
	}
	// Follow skips records that can't be decoded and records with invalid keys.
	var damaged []Record
	for _, record := range all {
		if record.Table != TokensTable {
			damaged = append(damaged, Record{record.Table, record.Key, record.Value[1:]},
				Record{record.Table, record.Key[1:], record.Value})
		}
	}
	follow(t, r, damaged...)
	r = checkSound(t, r)
	for i := range all {
		all[i].Value = nil
	}
	follow(t, r, all...)
	check(t, r.view(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{tokensBucket, digestsBucket, createdBucket, expiresBucket, auditBucket,
			requestsBucket, requestedBucket, endedBucket} {
			if key, _ := tx.Bucket(name).Cursor().First(); key != nil {
				t.Errorf("bucket %q isn't empty", name)
			}
		}
		return nil
	}))
}

// TestFollowEnded verifies that a replica can have a token whose secret was taken out of service,
// that this doesn't count as damage when the file is rebuilt or repaired, and that a backup has the
// token as a damaged one.
func TestFollowEnded(t *testing.T) {
	t.Parallel()
	r := mustOpenReplica(t, newPath(t))
	one := sharedToken(1, "a")
	ended := tokenstore.EncodeEnded(tokenstore.EndedSecret{Digest: one.Digest, At: testTime})
	check(t, r.Follow(Update{Records: []Record{tokenRecord(one), {EndedTable, one.Digest[:], ended}},
		Note: []byte("note")}))
	r = checkSound(t, r)
	_, _, err := r.Compact()
	check(t, err)
	checkStored(t, r, one)
	checkNoteIs(t, r, "note")
	if b := openBackup(t, r); b.Health().Damaged != 1 {
		t.Errorf("got %d damaged tokens in the backup, want 1", b.Health().Damaged)
	}
	check(t, r.Close())
	if done, err := Repair(r.path, testTime); err != nil || done.Kept != "" || len(done.Faults) > 0 {
		t.Errorf("got repair result %+v, err %v", done, err)
	}
	checkStored(t, mustOpenReplica(t, r.path), one)
}

func checkNoteIs(t testing.TB, r *Replica, want string) {
	t.Helper()
	checkNoteState(t, r, want, true)
}

func checkNoteState(t testing.TB, r *Replica, want string, wantComplete bool) {
	t.Helper()
	note, complete, err := r.Note()
	if err != nil || string(note) != want || (note == nil) != (want == "") || complete != wantComplete {
		t.Errorf("got note %q, complete %v, err %v, want %q and %v", note, complete, err, want, wantComplete)
	}
}

// TestNoteIsAtomic verifies that Follow makes a single transaction, and that each copy of the file
// has the note that belongs to its records.
func TestNoteIsAtomic(t *testing.T) {
	t.Parallel()
	r := mustOpenReplica(t, newPath(t))
	checkNoteIs(t, r, "")
	times := tokenstore.State{Announced: testTime, BackedUp: testTime.Add(time.Hour), Elapsed: testTime}
	for i := range 5 {
		before := r.Sequence()
		check(t, r.Follow(Update{Records: []Record{tokenRecord(sharedToken(i, fmt.Sprint(i)))},
			Times: times, Note: fmt.Append(nil, i)}))
		if got := r.Sequence(); got != before+1 {
			t.Errorf("Follow made %d transactions, want 1", got-before)
		}
		killed := mustOpenReplica(t, copied(t, r.path)) // what a killed process leaves behind
		checkNoteIs(t, killed, fmt.Sprint(i))
		if n := len(records(t, killed.Backend, TokensTable)); n != i+1 {
			t.Errorf("got %d tokens with note %d, want %d", n, i, i+1)
		}
		state, err := killed.State()
		if err != nil || !state.Announced.Equal(times.Announced) || !state.BackedUp.Equal(times.BackedUp) ||
			!state.Elapsed.IsZero() {
			t.Errorf("got state %+v, err %v", state, err)
		}
	}
	// A failed update changes nothing.
	failing := Update{Records: []Record{deletion(sharedToken(1, "1")), {Table: 9}}, Note: []byte("x")}
	if err := r.Follow(failing); err == nil {
		t.Error("Follow accepted an unknown table")
	}
	checkNoteIs(t, r, "4")
	checkStored(t, r, sharedToken(1, "1"))
	check(t, r.Follow(Update{}))
	checkNoteIs(t, r, "4")
}

// BenchmarkFollow repairs and damages many tokens, which is the slowest kind of update. The time
// per record must not depend on the number of records.
func BenchmarkFollow(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := mustOpenReplica(b, newPath(b))
			var good, bad []Record
			for i := range n {
				good = append(good, tokenRecord(sharedToken(i, fmt.Sprint(i))))
				bad = append(bad, Record{TokensTable, good[i].Key, []byte("bad")})
			}
			for b.Loop() {
				follow(b, r, bad...)
				follow(b, r, good...)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(2*n*b.N), "ns/record")
		})
	}
}
