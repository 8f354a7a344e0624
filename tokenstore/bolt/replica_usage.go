package bolt

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// NodeUsage is what another node has counted for a token. The values are absolute: they replace
// what is stored for that node and token.
type NodeUsage struct {
	// Node is the node's name: 1 to 32 printable ASCII bytes without '/'.
	Node string
	ID   token.ID
	// Totals is the usage without its days and refusals. Nil leaves the stored usage as it is.
	Totals *tokenstore.Usage
	// Days holds days of which each replaces the node's day of the token.
	Days []tokenstore.DayUsage
}

// NodeTotal is the usage of all tokens together that another node has counted on a day, without
// scopes.
type NodeTotal struct {
	Node string
	Day  tokenstore.DayUsage
}

// The elsewhere bucket holds a usage record for each token and node with usage. Its key is the
// token's ID and the node's name. In the bucket of days, the day comes first.
const maxNodeLength = 32

func elsewhereKey(id token.ID, node string) []byte { return append(id[:], node...) }

func dayElsewhereKey(day tokenstore.Day, id token.ID, node string) []byte {
	return append(dayKey(day, id), node...)
}

func totalElsewhereKey(day tokenstore.Day, node string) []byte { return append(totalKey(day), node...) }

// isElsewhereKey reports whether a key consists of a prefix of the given length and a node's
// name.
func isElsewhereKey(key []byte, prefix int) bool {
	return len(key) > prefix && isNode(string(key[prefix:]))
}

func isNode(name string) bool {
	return name != "" && len(name) <= maxNodeLength &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == '/' })
}

// followUsage makes an update's changes to usage.
func followUsage(tx *bbolt.Tx, u Update) error {
	if err := forgetNodes(tx, u.ForgetNodes); err != nil {
		return err
	}
	if u.ForgetOwn {
		if err := forgetOwn(tx); err != nil {
			return err
		}
	}
	for _, usage := range u.Usage {
		if err := putElsewhere(tx, usage); err != nil {
			return err
		}
	}
	for _, total := range u.Totals {
		if !isNode(total.Node) {
			continue
		}
		key := totalElsewhereKey(total.Day.Day, total.Node)
		if err := tx.Bucket(totalsElsewhereBucket).Put(key, tokenstore.EncodeDay(key, total.Day)); err != nil {
			return err
		}
	}
	return nil
}

// putElsewhere stores another node's usage of a token, if the token exists. A token with days
// also gets a usage record, so that its days can be found.
func putElsewhere(tx *bbolt.Tx, u NodeUsage) error {
	if !isNode(u.Node) || tx.Bucket(tokensBucket).Get(u.ID[:]) == nil {
		return nil
	}
	elsewhere, key := tx.Bucket(elsewhereBucket), elsewhereKey(u.ID, u.Node)
	if u.Totals != nil || elsewhere.Get(key) == nil {
		var totals tokenstore.Usage
		if u.Totals != nil {
			totals = *u.Totals
			totals.Days = nil
		}
		if err := elsewhere.Put(key, tokenstore.EncodeUsage(u.ID, totals)); err != nil {
			return err
		}
	}
	for _, day := range u.Days {
		key := dayElsewhereKey(day.Day, u.ID, u.Node)
		if bytes.Compare(key, tx.Bucket(metaBucket).Get(wholeElsewhereKey)) <= 0 {
			day = day.AsWhole() // Prune doesn't return to this day
		}
		if err := tx.Bucket(daysElsewhereBucket).Put(key, tokenstore.EncodeDay(key, day)); err != nil {
			return err
		}
	}
	return nil
}

// removeElsewhere deletes a token's usage at all other nodes.
func removeElsewhere(tx *bbolt.Tx, id token.ID) error {
	var keys [][]byte
	elsewhere := tx.Bucket(elsewhereBucket)
	cursor := elsewhere.Cursor()
	for key, _ := cursor.Seek(id[:]); bytes.HasPrefix(key, id[:]); key, _ = cursor.Next() {
		keys = append(keys, bytes.Clone(key))
	}
	if len(keys) == 0 {
		return nil
	}
	return errors.Join(deleteKeys(elsewhere, keys), removeDays(tx.Bucket(daysElsewhereBucket), id))
}

// forgetNodes deletes the usage and the totals of the named nodes.
func forgetNodes(tx *bbolt.Tx, names []string) error {
	if len(names) == 0 {
		return nil
	}
	forgotten := make(map[string]bool)
	for _, name := range names {
		forgotten[name] = true
	}
	for _, part := range elsewhereBuckets {
		var keys [][]byte
		bucket := tx.Bucket(part.name)
		err := bucket.ForEach(func(key, _ []byte) error {
			if forgotten[string(key[min(len(key), part.prefix):])] {
				keys = append(keys, bytes.Clone(key))
			}
			return nil
		})
		if err := errors.Join(err, deleteKeys(bucket, keys)); err != nil {
			return err
		}
	}
	return nil
}

// elsewhereBuckets lists the buckets whose keys end with a node's name. prefix is the length of the
// part of the key before the name.
var elsewhereBuckets = []struct {
	name   []byte
	prefix int
}{
	{elsewhereBucket, len(token.ID{})}, {daysElsewhereBucket, dayKeyLength}, {totalsElsewhereBucket, totalKeyLength},
}

// forgetOwn deletes this node's usage, days, totals and refusals.
func forgetOwn(tx *bbolt.Tx) error {
	for _, name := range [][]byte{usageBucket, daysBucket, totalsBucket, refusalsBucket} {
		if tx.Bucket(name) == nil {
			continue
		}
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return tx.Bucket(metaBucket).Delete(wholeKey)
}

// Elsewhere returns the sum of the token's usage at all other nodes, including the days from
// first to last. It returns a zero Usage if there is none. It doesn't wait for the disk.
//
// Elsewhere returns an error that wraps [token.ErrDamaged], together with the sum of the other
// nodes' usage, if a node's usage record can't be decoded. It leaves out days that can't be decoded
// and returns no error for them. If the file can't be read, the error wraps
// [tokenstore.ErrUnavailable].
func (r *Replica) Elsewhere(id token.ID, first, last tokenstore.Day) (tokenstore.Usage, error) {
	byNode, err := r.ElsewhereByNode(id, first, last)
	var sum usageSum
	for _, node := range slices.Sorted(maps.Keys(byNode)) {
		sum.add(byNode[node])
	}
	return sum.total, err
}

// ElsewhereByNode is like Elsewhere, but maps the name of each node that has usage of the token to
// that usage.
func (r *Replica) ElsewhereByNode(id token.ID, first, last tokenstore.Day) (byNode map[string]tokenstore.Usage,
	err error) {
	err = r.viewNow(func(tx *bbolt.Tx) error {
		byNode = make(map[string]tokenstore.Usage)
		var damaged error
		cursor := tx.Bucket(elsewhereBucket).Cursor()
		for key, record := cursor.Seek(id[:]); bytes.HasPrefix(key, id[:]); key, record = cursor.Next() {
			usage, err := tokenstore.DecodeUsage(id, record)
			byNode[string(key[len(id):])], damaged = usage, errors.Join(damaged, err)
		}
		if len(byNode) == 0 {
			return nil
		}
		cursor = tx.Bucket(daysElsewhereBucket).Cursor()
		for day := first; day <= last; day++ {
			prefix := dayKey(day, id)
			for key, record := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, record = cursor.Next() {
				if saved, err := tokenstore.DecodeDay(key, day, record); err == nil {
					node := string(key[len(prefix):])
					usage := byNode[node]
					usage.Days = append(usage.Days, saved)
					byNode[node] = usage
				}
			}
		}
		return damaged
	})
	return byNode, err
}

// Scan is like [Backend.Scan], but the usage includes the other nodes' usage.
func (r *Replica) Scan(after token.ID, yield func(*token.Token, tokenstore.Usage) bool) error {
	return r.scan(after, [][]byte{usageBucket, elsewhereBucket}, yield)
}

// Totals is like [Backend.Totals], but includes the other nodes' totals.
func (r *Replica) Totals(first, last tokenstore.Day) (days []tokenstore.DayUsage, err error) {
	err = r.viewNow(func(tx *bbolt.Tx) error {
		own := tokenstore.Usage{Days: savedTotals(tx.Bucket(totalsBucket), first, last)}
		others := tokenstore.Usage{Days: savedTotals(tx.Bucket(totalsElsewhereBucket), first, last)}
		days = own.Plus(others).Days
		return nil
	})
	return days, err
}

// OwnTotals is like [Backend.Totals] and includes only this node's totals.
func (r *Replica) OwnTotals(first, last tokenstore.Day) ([]tokenstore.DayUsage, error) {
	return r.Backend.Totals(first, last)
}

// OwnUsers calls yield for each token that this node has counted usage for, in ID order, until
// yield returns false. yield must not call the replica.
func (r *Replica) OwnUsers(yield func(token.ID) bool) error {
	return r.view(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(usageBucket).Cursor()
		for key, _ := cursor.First(); key != nil; key, _ = cursor.Next() {
			if len(key) == len(token.ID{}) && !yield(token.ID(key)) {
				return nil
			}
		}
		return nil
	})
}

// Nodes returns the other nodes that the replica has usage of, sorted. It reads the whole usage
// of other nodes, except for the days.
func (r *Replica) Nodes() (names []string, err error) {
	found := make(map[string]bool)
	err = r.view(func(tx *bbolt.Tx) error {
		for _, part := range elsewhereBuckets {
			if bytes.Equal(part.name, daysElsewhereBucket) {
				continue // each day has a usage record
			}
			cursor := tx.Bucket(part.name).Cursor()
			for key, _ := cursor.First(); key != nil; key, _ = cursor.Next() {
				if isElsewhereKey(key, part.prefix) {
					found[string(key[part.prefix:])] = true
				}
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), err
}

// Prune is like [Backend.Prune], but it deletes no audit entries and no requests. Those are
// deleted by following.
func (r *Replica) Prune(keep tokenstore.Retention) (more bool, err error) {
	return r.prune([]pruning{
		expiredEntries(daysBucket, isDayBefore(dayKeyLength, keep.Days), nil),
		expiredHours(daysBucket, wholeKey, keep.Hours),
		expiredTotals(totalsBucket, keep),
		expiredEntries(daysElsewhereBucket, isDayBefore(dayKeyLength, keep.Days), nil),
		expiredHours(daysElsewhereBucket, wholeElsewhereKey, keep.Hours),
		expiredTotals(totalsElsewhereBucket, keep),
	})
}
