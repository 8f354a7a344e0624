package bolt

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// nodeUsage returns usage that a node has counted.
func nodeUsage(node string, tok *token.Token, n uint64, days ...tokenstore.DayUsage) NodeUsage {
	return NodeUsage{Node: node, ID: tok.ID, Days: days, Totals: &tokenstore.Usage{
		Allowed: n, Denied: 2 * n, Last: tokenstore.LastUse{Time: testTime.Add(time.Duration(n)), Route: node},
	}}
}

// usedReplica returns a replica with two tokens, of which the first was used here and on two other
// nodes, and the second on node b only.
func usedReplica(t testing.TB) (r *Replica, one, two *token.Token) {
	t.Helper()
	r = mustOpenReplica(t, newPath(t))
	one, two = sharedToken(1, "a"), sharedToken(2, "b")
	check(t, r.Follow(Update{
		Records: []Record{tokenRecord(one), tokenRecord(two)},
		Usage: []NodeUsage{
			nodeUsage("a", one, 10_000, usedOn(today-3, 1), usedOn(today-1, 2), usedOn(today, 4)),
			nodeUsage("b", one, 20_000, usedOn(today-1, 8), usedOn(today+1, 16)),
			nodeUsage("b", two, 30_000, usedOn(today-2, 32), usedOn(today, 64)),
		},
		Totals: []NodeTotal{{"a", total(today, 4)}, {"b", total(today-1, 8)}, {"b", total(today, 64)}},
	}))
	save(t, r.Backend, map[token.ID]tokenstore.Usage{one.ID: {
		Allowed: 7, Last: tokenstore.LastUse{Time: testTime.Add(time.Hour), Route: "own"},
		Days:     []tokenstore.DayUsage{usedOn(today-1, 100), usedOn(today, 200)},
		Refusals: []tokenstore.Refusal{{Time: testTime, Code: "ip_denied"}},
	}})
	return r, one, two
}

// total returns a day's total as usedOn returns days.
func total(day tokenstore.Day, n uint64) tokenstore.DayUsage { return usedTotals(usedOn(day, n))[0] }

func elsewhere(t testing.TB, r *Replica, id token.ID, first, last tokenstore.Day) tokenstore.Usage {
	t.Helper()
	usage, err := r.Elsewhere(id, first, last)
	check(t, err)
	return usage
}

func TestElsewhere(t *testing.T) {
	t.Parallel()
	r, one, two := usedReplica(t)
	want := tokenstore.Usage{Allowed: 30_000, Denied: 60_000,
		Last: tokenstore.LastUse{Time: testTime.Add(20_000), Route: "b"},
		Days: []tokenstore.DayUsage{usedOn(today-1, 10), usedOn(today, 4)}}
	if got := elsewhere(t, r, one.ID, today-2, today); !reflect.DeepEqual(got, want) {
		t.Errorf("got usage\n%+v\nwant\n%+v", got, want)
	}
	byNode, err := r.ElsewhereByNode(one.ID, today-2, today)
	check(t, err)
	a, b := byNode["a"], byNode["b"]
	if len(byNode) != 2 || a.Allowed != 10_000 || b.Allowed != 20_000 ||
		!reflect.DeepEqual(a.Days, []tokenstore.DayUsage{usedOn(today-1, 2), usedOn(today, 4)}) ||
		!reflect.DeepEqual(b.Days, []tokenstore.DayUsage{usedOn(today-1, 8)}) {
		t.Errorf("got usage by node %+v", byNode)
	}
	if nodes, err := r.Nodes(); err != nil || !reflect.DeepEqual(nodes, []string{"a", "b"}) {
		t.Errorf("got nodes %q, err %v, want a and b", nodes, err)
	}
	var users []token.ID
	check(t, r.OwnUsers(func(id token.ID) bool { users = append(users, id); return true }))
	if !reflect.DeepEqual(users, []token.ID{one.ID}) {
		t.Errorf("got own users %q, want %q", users, one.ID)
	}
	// Values replace what is stored. Without totals, the totals stay.
	check(t, r.Follow(Update{Usage: []NodeUsage{
		nodeUsage("a", one, 1), {Node: "b", ID: one.ID, Days: []tokenstore.DayUsage{usedOn(today-1, 1)}},
		{Node: "c", ID: two.ID, Days: []tokenstore.DayUsage{usedOn(today, 1)}},
		nodeUsage("a/b", one, 1), nodeUsage("", one, 1), nodeUsage("ä", one, 1),
		nodeUsage(fmt.Sprintf("%033d", 1), one, 1),
		nodeUsage("a", sharedToken(9, "x"), 1, usedOn(today, 1)),
	}}))
	want.Allowed, want.Denied = 20_001, 40_002
	want.Days[0] = usedOn(today-1, 3)
	if got := elsewhere(t, r, one.ID, today-2, today); !reflect.DeepEqual(got, want) {
		t.Errorf("got usage\n%+v\nwant\n%+v", got, want)
	}
	if got := elsewhere(t, r, sharedToken(9, "x").ID, today, today); !reflect.DeepEqual(got, tokenstore.Usage{}) {
		t.Errorf("got usage %+v of an unknown token, want none", got)
	}
	r = checkSound(t, r)
	follow(t, r, deletion(one), deletion(two))
	check(t, checkSound(t, r).view(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{usageBucket, daysBucket, refusalsBucket, elsewhereBucket, daysElsewhereBucket} {
			if key, _ := tx.Bucket(name).Cursor().First(); key != nil {
				t.Errorf("bucket %q still has an entry", name)
			}
		}
		return nil
	}))
}

func TestElsewhereDamaged(t *testing.T) {
	t.Parallel()
	r, one, _ := usedReplica(t)
	check(t, r.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(elsewhereBucket).Put(elsewhereKey(one.ID, "a"), []byte("x"))
	}))
	usage, err := r.Elsewhere(one.ID, today, today)
	if !errors.Is(err, token.ErrDamaged) || usage.Allowed != 20_000 || len(usage.Days) != 1 {
		t.Errorf("got usage %+v, err %v, want what can be read and ErrDamaged", usage, err)
	}
}

// checkScan verifies that Scan returns the sum of what Usage and Elsewhere return.
func checkScan(t testing.TB, r *Replica) {
	t.Helper()
	sums := make(map[token.ID]tokenstore.Usage)
	check(t, r.Scan(token.ID{}, func(tok *token.Token, usage tokenstore.Usage) bool {
		sums[tok.ID] = usage.Clone()
		return true
	}))
	if n := len(records(t, r.Backend, TokensTable)); n != len(sums) {
		t.Errorf("Scan returned %d tokens, want %d", len(sums), n)
	}
	for id, sum := range sums {
		own, _, err := r.Usage(id, 1, 0)
		check(t, err)
		want := own.Plus(elsewhere(t, r, id, 1, 0)).Clone()
		if !reflect.DeepEqual(sum, want) {
			t.Errorf("token %s: Scan returned\n%+v\nwant\n%+v", id, sum, want)
		}
	}
}

func TestReplicaScan(t *testing.T) {
	t.Parallel()
	r, _, _ := usedReplica(t)
	checkScan(t, r)
	var more Update
	for i := 3; i < 50; i++ {
		tok := sharedToken(i, fmt.Sprint(i))
		more.Records = append(more.Records, tokenRecord(tok))
		for node := range i % 4 {
			more.Usage = append(more.Usage, nodeUsage(fmt.Sprint("n", node), tok, uint64(i)))
		}
	}
	check(t, r.Follow(more))
	checkScan(t, r)
}

func TestReplicaTotals(t *testing.T) {
	t.Parallel()
	r, _, _ := usedReplica(t)
	own := []tokenstore.DayUsage{total(today-1, 100), total(today, 200)}
	if got, err := r.OwnTotals(today-9, today+9); err != nil || !reflect.DeepEqual(got, own) {
		t.Errorf("got own totals\n%+v, err %v\nwant\n%+v", got, err, own)
	}
	want := []tokenstore.DayUsage{total(today-1, 108), total(today, 268)}
	if got, err := r.Totals(today-9, today+9); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got totals\n%+v, err %v\nwant\n%+v", got, err, want)
	}
	if got, err := r.Totals(today, today); err != nil || !reflect.DeepEqual(got, want[1:]) {
		t.Errorf("got totals of one day\n%+v, err %v\nwant\n%+v", got, err, want[1:])
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	r, one, two := usedReplica(t)
	check(t, r.Follow(Update{ForgetNodes: []string{"b"}}))
	if nodes, err := r.Nodes(); err != nil || !reflect.DeepEqual(nodes, []string{"a"}) {
		t.Errorf("got nodes %q, err %v, want a", nodes, err)
	}
	if got := elsewhere(t, r, one.ID, today-9, today+9); got.Allowed != 10_000 || len(got.Days) != 3 {
		t.Errorf("got usage %+v, want node a's", got)
	}
	r = checkSound(t, r)
	check(t, r.Follow(Update{ForgetOwn: true, ForgetNodes: []string{"a"}, Usage: []NodeUsage{nodeUsage("a", two, 5)}}))
	usage, state, err := r.Usage(one.ID, today-9, today+9)
	if err != nil || !reflect.DeepEqual(usage, tokenstore.Usage{}) || state.Flush != 7 {
		t.Errorf("got own usage %+v, state %+v, err %v, want no usage and the state", usage, state, err)
	}
	if got, err := r.OwnTotals(today-9, today+9); err != nil || len(got) > 0 {
		t.Errorf("got own totals %+v, err %v, want none", got, err)
	}
	if got, _, err := r.Refusals(one.ID); err != nil || len(got) > 0 {
		t.Errorf("got refusals %+v, err %v, want none", got, err)
	}
	if got := elsewhere(t, r, two.ID, today-9, today+9); got.Allowed != 5 || len(got.Days) > 0 {
		t.Errorf("got usage %+v, want only what was stored after forgetting", got)
	}
	r = checkSound(t, r)
	save(t, r.Backend, map[token.ID]tokenstore.Usage{one.ID: {Days: []tokenstore.DayUsage{usedOn(today, 1)}}})
	if got, err := r.OwnTotals(today-9, today+9); err != nil ||
		!reflect.DeepEqual(got, []tokenstore.DayUsage{total(today, 1)}) {
		t.Errorf("got own totals %+v, err %v, want those counted since", got, err)
	}
}

func TestReplicaPrune(t *testing.T) {
	t.Parallel()
	r, one, two := usedReplica(t)
	entry := tokenstore.AuditEntry{Time: testTime.AddDate(-9, 0, 0), TokenID: one.ID}
	key := auditKey(tokenstore.AuditPosition{Time: entry.Time, Sequence: 1})
	follow(t, r, Record{AuditTable, key, tokenstore.EncodeAuditEntry(key, entry)})
	var many Update // more than one call prunes
	for i := range pruneLimit + 1 {
		many.Usage = append(many.Usage, NodeUsage{Node: fmt.Sprint("n", i), ID: two.ID,
			Days: []tokenstore.DayUsage{usedOn(today-9, 1)}})
	}
	check(t, r.Follow(many))
	keep := tokenstore.Retention{Audit: testTime, Requests: testTime, Days: today - 2, Hours: today}
	calls := 0
	for more := true; more; calls++ {
		var err error
		more, err = r.Prune(keep)
		check(t, err)
	}
	if calls < 2 {
		t.Errorf("Prune needed %d calls, want at least 2", calls)
	}
	want := []tokenstore.DayUsage{usedOn(today-1, 10).AsWhole(), usedOn(today, 4), usedOn(today+1, 16)}
	if got := elsewhere(t, r, one.ID, today-9, today+9).Days; !reflect.DeepEqual(got, want) {
		t.Errorf("got days\n%+v\nwant\n%+v", got, want)
	}
	own := []tokenstore.DayUsage{usedOn(today-1, 100).AsWhole()}
	if got := days(t, r.Backend, one.ID); !reflect.DeepEqual(got, own) {
		t.Errorf("got own past days %+v", got)
	}
	wantTotals := []tokenstore.DayUsage{total(today-1, 108).AsWhole(), total(today, 268)}
	if got, err := r.Totals(today-9, today+9); err != nil || !reflect.DeepEqual(got, wantTotals) {
		t.Errorf("got totals\n%+v, err %v\nwant\n%+v", got, err, wantTotals)
	}
	if n := len(records(t, r.Backend, AuditTable)); n != 1 {
		t.Errorf("got %d audit entries, want 1", n)
	}
	// The hours of a day that comes late are added up too.
	check(t, r.Follow(Update{Usage: []NodeUsage{{Node: "a", ID: one.ID,
		Days: []tokenstore.DayUsage{usedOn(today-2, 1), usedOn(today, 5)}}}}))
	got := elsewhere(t, r, one.ID, today-2, today).Days
	if !got[0].Whole || got[2].Whole {
		t.Errorf("got days %+v, want hours only today", got)
	}
	checkSound(t, r)
}
