package gate

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// FailureLimit throttles token guessing per client address. Each address is allowed a burst of
// failures, and this allowance refills evenly over the window. Failures are counted in memory
// and never per token, so an attacker's guesses can't lock out a token's owner. Any number of
// goroutines may use a FailureLimit.
type FailureLimit struct {
	limit  token.RateLimit
	seed   maphash.Seed
	shards [failureShards]failureShard
}

const (
	failureShards = 64
	// maxFailureAddresses is the maximum number of addresses per shard. A full shard evicts
	// addresses, so memory doesn't grow with the number of attackers.
	maxFailureAddresses = 4096
)

// failureShard maps each address to its [token.RateLimit] state: the time from which its
// failures no longer count.
type failureShard struct {
	mu      sync.Mutex
	clearAt map[netip.Prefix]int64
	_       [32]byte // to avoid false sharing
}

// NewFailureLimit returns a limit on the number of failures per window. failures must be at
// least 1.
func NewFailureLimit(failures int, window time.Duration) *FailureLimit {
	return &FailureLimit{limit: token.RateLimit{Requests: int64(failures), Window: window}, seed: maphash.MakeSeed()}
}

// Count counts a refusal that may be due to guessing, because the token is malformed, unknown
// or of the wrong kind. If the address has had too many failures, Count replaces the refusal
// with TooManyFailures. Missing, expired and revoked tokens don't count. A nil limit counts
// nothing.
func (l *FailureLimit) Count(refusal *Refusal, ip netip.Addr, now time.Time) {
	if l == nil || refusal.Code != MalformedToken && refusal.Code != UnknownToken && refusal.Code != WrongKind {
		return
	}
	if wait := l.fail(ip, now); wait > 0 {
		token := refusal.Token
		*refusal = Refuse(TooManyFailures)
		refusal.Token = token
		refusal.RetryAfter = int(WholeSeconds(wait))
	}
}

// CountStray counts a request that has a token outside the Authorization header, whether or
// not the gate allows the request: how to compute the checksum is public, so anyone can make
// up a well-formed token. CountStray never replaces the decision for an allowed request, for a
// token whose secret matched or for a token in the URL; see [Refusal.Final]. A nil limit
// counts nothing.
func (l *FailureLimit) CountStray(refusal *Refusal, ip netip.Addr, now time.Time) {
	if l == nil {
		return
	}
	wait := l.fail(ip, now)
	if wait > 0 && refusal.Code != "" && refusal.Code != TokenInURL && !refusal.Token.Known() {
		*refusal = Refuse(TooManyFailures)
		refusal.RetryAfter = int(WholeSeconds(wait))
	}
}

// fail counts a failure for an address. If the address has already had too many failures, fail
// doesn't count this failure and returns the time until another one is allowed.
func (l *FailureLimit) fail(ip netip.Addr, now time.Time) (wait time.Duration) {
	address := failureAddress(ip)
	shard := &l.shards[maphash.Comparable(l.seed, address)%failureShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	clearAt, ok := l.limit.Next(shard.clearAt[address], now.UnixNano())
	if !ok {
		shard.clearAt[address] = clearAt
		return l.limit.Standing(clearAt, now.UnixNano()).Reset
	}
	if shard.clearAt == nil {
		shard.clearAt = make(map[netip.Prefix]int64)
	}
	if len(shard.clearAt) >= maxFailureAddresses {
		shard.evict(now)
	}
	shard.clearAt[address] = clearAt
	return 0
}

// evict removes addresses without failures. If that leaves the shard more than half full,
// evict also removes arbitrary addresses.
func (s *failureShard) evict(now time.Time) {
	for address, clearAt := range s.clearAt {
		if clearAt <= now.UnixNano() {
			delete(s.clearAt, address)
		}
	}
	for address := range s.clearAt {
		if len(s.clearAt) <= maxFailureAddresses/2 {
			return
		}
		delete(s.clearAt, address)
	}
}

// failureAddress returns the prefix that counts as one address. For IPv6, that is a /64, the
// smallest block that providers assign to a customer.
func failureAddress(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // for the zero address, this is the zero prefix
	return prefix
}
