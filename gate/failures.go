package gate

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// FailureLimit throttles token guessing, per client address: an address may have a burst of
// failures, which refills evenly over the window. It counts in memory, and never by token,
// so that guesses don't lock the token's owner out. A FailureLimit may be used by any number
// of goroutines.
type FailureLimit struct {
	limit  token.RateLimit
	seed   maphash.Seed
	shards [failureShards]failureShard
}

const (
	failureShards = 64
	// maxFailureAddresses is how many addresses a shard remembers. Beyond that it
	// forgets some: memory must not grow with the number of attackers.
	maxFailureAddresses = 4096
)

// failureShard has for each address the time at which all its failures are
// forgiven: the state of [token.RateLimit].
type failureShard struct {
	mu       sync.Mutex
	forgiven map[netip.Prefix]int64
	_        [32]byte // to avoid false sharing
}

// NewFailureLimit returns a limit of failures, at least 1, in a window.
func NewFailureLimit(failures int, window time.Duration) *FailureLimit {
	return &FailureLimit{limit: token.RateLimit{Requests: int64(failures), Window: window}, seed: maphash.MakeSeed()}
}

// Count counts a refusal that may be of a guess: of a malformed or unknown token, or of one
// of another kind. If its address had too many of them, it becomes TooManyFailures. A
// missing, expired or revoked token is no guess and doesn't count. A nil limit counts
// nothing.
func (l *FailureLimit) Count(refusal *Refusal, ip netip.Addr, now time.Time) {
	if l == nil || refusal.Code != MalformedToken && refusal.Code != UnknownToken && refusal.Code != WrongKind {
		return
	}
	if wait := l.fail(ip, now); wait > 0 {
		token := refusal.Token
		*refusal = Refuse(TooManyFailures)
		refusal.Token = token
		refusal.RetryAfter = int(seconds(wait))
	}
}

// CountStray counts a request with a token outside the Authorization header, which
// anyone can make of a public checksum, whatever became of the request. An allowed
// request stays so, and so do the refusals of a token whose secret matched and of one in
// the URL; see [Refusal.Final]. A nil limit counts nothing.
func (l *FailureLimit) CountStray(refusal *Refusal, ip netip.Addr, now time.Time) {
	if l == nil {
		return
	}
	wait := l.fail(ip, now)
	if wait > 0 && refusal.Code != "" && refusal.Code != TokenInURL && !refusal.Token.Known() {
		*refusal = Refuse(TooManyFailures)
		refusal.RetryAfter = int(seconds(wait))
	}
}

// fail counts a failure of an address. If there were too many, it returns how
// long it takes until one is forgiven; that failure isn't counted.
func (l *FailureLimit) fail(ip netip.Addr, now time.Time) (wait time.Duration) {
	address := failureAddress(ip)
	shard := &l.shards[maphash.Comparable(l.seed, address)%failureShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	forgiven, ok := l.limit.Next(shard.forgiven[address], now.UnixNano())
	if !ok {
		shard.forgiven[address] = forgiven
		return l.limit.Standing(forgiven, now.UnixNano()).Reset
	}
	if shard.forgiven == nil {
		shard.forgiven = make(map[netip.Prefix]int64)
	}
	if len(shard.forgiven) >= maxFailureAddresses {
		shard.forget(now)
	}
	shard.forgiven[address] = forgiven
	return 0
}

// forget makes room for many: it drops the addresses that owe nothing and, while
// more than half of the room is taken, any.
func (s *failureShard) forget(now time.Time) {
	for address, forgiven := range s.forgiven {
		if forgiven <= now.UnixNano() {
			delete(s.forgiven, address)
		}
	}
	for address := range s.forgiven {
		if len(s.forgiven) <= maxFailureAddresses/2 {
			return
		}
		delete(s.forgiven, address)
	}
}

// failureAddress is what counts as one address: with IPv6 a /64, which is what one
// customer gets at least.
func failureAddress(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // the zero address has the zero prefix
	return prefix
}
