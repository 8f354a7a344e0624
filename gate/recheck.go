package gate

import (
	"net/netip"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// A request is decided about when its head has arrived. A client that sends its body
// slowly could go on acting long after its token has ended, and choose the rest of the
// body then. So the right is checked again when the body is complete, and while an
// upload or an answer goes on.

// rightChecks are the checks whose outcome changes with the token. Limits are not among
// them: a request takes of them once.
var rightChecks = [...]check{checkKind, checkState, checkClientIP, checkScope, checkAccount}

// Recheck decides again about an allowed request, by its token as it is now. It updates
// the finding even if it refuses the request.
func (g *Gate) Recheck(store Store, f *Finding, clientIP netip.Addr, now time.Time) Refusal {
	match, err := store.Authenticate(token.Credential{Digest: f.Match.Digest}, now)
	if err != nil {
		refusal := refuseLookup(err)
		refusal.Token = f.Match.Token
		return refusal
	}
	f.Match = match
	return g.RecheckMatch(f, &match, clientIP, now)
}

// RecheckMatch returns the refusal of a token that no longer has the right to what f
// found, or none. A match whose token is not known is of a secret that has been taken
// away. RecheckMatch reads only f's route and takes nothing of the token's limits.
func (g *Gate) RecheckMatch(f *Finding, m *tokenstore.Match, clientIP netip.Addr, now time.Time) Refusal {
	if !m.Token.Known() {
		return Refuse(UnknownToken)
	}
	request := Request{ClientIP: clientIP, Now: now}
	d := Decision{Finding: Finding{Route: f.Route, Match: *m}}
	for _, c := range rightChecks {
		if g.check(c, &request, &d, &scratch{}); d.Refused() {
			d.Refusal.Token = m.Token
			break
		}
	}
	return d.Refusal
}
