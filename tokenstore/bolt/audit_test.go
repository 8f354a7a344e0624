package bolt

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// TestPrune removes what is older, some at once, and nothing else.
func TestPrune(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	const entries = pruneLimit + 30
	check(t, b.update(func(tx *bbolt.Tx) error {
		for i := range entries {
			if err := appendAudit(tx, tokenstore.AuditEntry{Time: testTime.Add(time.Duration(i) * time.Second), Action: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		for i := range 5 {
			request := tokenstore.KeptRequest{Key: token.Digest{byte(i + 1)}, Body: token.Digest{1}, ID: token.ID([]byte("4fQ9Zt2LkVb7")), Time: testTime.Add(time.Duration(i) * time.Hour)}
			if err := putRequest(tx, &request); err != nil {
				return err
			}
		}
		return nil
	}))
	actions := func() (list []string) {
		check(t, b.Audit(nil, func(_ tokenstore.AuditPosition, e tokenstore.AuditEntry) bool {
			list = append(list, e.Action)
			return true
		}))
		return list
	}
	if more, err := b.Prune(tokenstore.Retention{Audit: testTime, Requests: testTime}); more || err != nil || len(actions()) != entries {
		t.Fatalf("%v, %v, %d left", more, err, len(actions()))
	}
	before := testTime.Add((entries - 10) * time.Second)
	if more, err := b.Prune(tokenstore.Retention{Audit: before, Requests: testTime.Add(2 * time.Hour)}); !more || err != nil || len(actions()) != 30 {
		t.Fatalf("%v, %v, %d left", more, err, len(actions()))
	}
	if more, err := b.Prune(tokenstore.Retention{Audit: before, Requests: testTime.Add(2 * time.Hour)}); more || err != nil {
		t.Fatalf("%v, %v", more, err)
	}
	if left := actions(); len(left) != 10 || left[0] != fmt.Sprint(entries-1) || left[9] != fmt.Sprint(entries-10) {
		t.Errorf("left %q", left)
	}
	for i := range 5 {
		_, err := b.Request(token.Digest{byte(i + 1)})
		if kept := i >= 2; kept != (err == nil) || !kept && !errors.Is(err, tokenstore.ErrNotFound) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if left, err := b.countKeys(requestedBucket); err != nil || left != 3 {
		t.Errorf("%d are left in the order, %v", left, err)
	}
}

func (b *Backend) countKeys(bucket []byte) (n int, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, _ []byte) error {
			n++
			return nil
		})
	})
	return n, err
}

// TestAuditPositions: the walk goes on behind any position, also of an entry that
// is gone.
func TestAuditPositions(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	check(t, b.update(func(tx *bbolt.Tx) error {
		for i := range 6 { // two of each time
			if err := appendAudit(tx, tokenstore.AuditEntry{Time: testTime.Add(time.Duration(i/2) * time.Second), Action: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	}))
	var positions []tokenstore.AuditPosition
	check(t, b.Audit(nil, func(at tokenstore.AuditPosition, _ tokenstore.AuditEntry) bool {
		positions = append(positions, at)
		return true
	}))
	next := func(at tokenstore.AuditPosition) string {
		found := "none"
		check(t, b.Audit(&at, func(_ tokenstore.AuditPosition, e tokenstore.AuditEntry) bool {
			found = e.Action
			return false
		}))
		return found
	}
	for i, want := range []string{"4", "3", "2", "1", "0", "none"} {
		if got := next(positions[i]); got != want {
			t.Errorf("behind %d: %s, want %s", i, got, want)
		}
	}
	for at, want := range map[time.Duration]string{time.Hour: "5", 1500 * time.Millisecond: "3", -time.Hour: "none"} {
		if got := next(tokenstore.AuditPosition{Time: testTime.Add(at)}); got != want {
			t.Errorf("at %s: %s, want %s", at, got, want)
		}
	}
}
