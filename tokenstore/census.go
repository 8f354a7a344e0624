package tokenstore

import (
	"context"
	"time"

	"github.com/mollygate/mollygate/token"
)

// Census holds statistics about all tokens.
type Census struct {
	// ByStatus maps every status to the number of tokens with that status.
	ByStatus map[token.Status]int
	// Expiring contains one count per requested duration: the number of active tokens that
	// expire within that duration and have at most a quarter of their lifetime left.
	Expiring []int
	// Allowed and Denied are the sums of the tokens' request counts.
	Allowed, Denied uint64
}

// Census computes a Census in a single [Store.Scan]. within lists the durations for Expiring.
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
			for i, duration := range within {
				if token.NearExpiry(t.Token.ValidFrom(), t.Token.ExpiresAt, now, now.Add(duration)) {
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
