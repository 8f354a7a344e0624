package tokenstore

import (
	"context"
	"time"

	"github.com/mollygate/mollygate/token"
)

// Census counts all tokens that there are.
type Census struct {
	// ByStatus has every status.
	ByStatus map[token.Status]int
	// Expiring is how many active tokens end within each of the times that were asked
	// for, and have no more than a quarter of their life left.
	Expiring []int
	// Allowed and Denied are the sums of their counts.
	Allowed, Denied uint64
}

// Census counts all tokens, in the time of a [Store.Scan].
func (s *Store) Census(ctx context.Context, within ...time.Duration) (Census, error) {
	now := s.Now()
	var statuses [token.StatusDamaged + 1]int
	c := Census{Expiring: make([]int, len(within)), ByStatus: make(map[token.Status]int, len(statuses)-1)}
	err := s.Scan(ctx, func(t TokenUsage) bool {
		status := t.Token.Status(now)
		statuses[status]++
		c.Allowed += t.Usage.Allowed
		c.Denied += t.Usage.Denied
		if status == token.StatusActive {
			for i, time := range within {
				if token.NearExpiry(t.Token.ValidFrom(), t.Token.ExpiresAt, now, now.Add(time)) {
					c.Expiring[i]++
				}
			}
		}
		return true
	})
	for status := token.StatusRevoked; status <= token.StatusDamaged; status++ {
		c.ByStatus[status] = statuses[status]
	}
	return c, err
}
