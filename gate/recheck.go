package gate

import (
	"slices"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// The gate decides on a request once its headers have arrived. A client that sends the body
// slowly could keep using its token long after it has expired or been revoked, and decide what
// to send only then. The gate therefore checks the token again when the body is complete, and
// repeatedly during uploads and responses.

// tokenChecks are the checks that depend on the token's state. The limits aren't included,
// because a request counts against them only once.
var tokenChecks = [...]check{checkKind, checkState, checkClientIP, checkScope, checkResources, checkAccount}

// Recheck decides again on an allowed request, based on its token's current state. It updates
// the finding even if it refuses the request.
func (g *Gate) Recheck(store Store, f *Finding, clientIP string, now time.Time) Refusal {
	match, err := store.Authenticate(token.Credential{Digest: f.Match.Digest}, now)
	if err != nil {
		refusal := refuseLookup(err)
		refusal.Token = f.Match.Token
		return refusal
	}
	f.Match = match
	return g.RecheckMatch(f, &match, clientIP, now)
}

// RecheckMatch returns a refusal if the matched token no longer allows the request that f
// describes. A match without a known token means that the secret is no longer valid.
// RecheckMatch reads f's route, its targets and the resources to which its token was bound. It
// doesn't count against the token's limits.
func (g *Gate) RecheckMatch(f *Finding, m *tokenstore.Match, clientIP string, now time.Time) Refusal {
	if !m.Token.Known() {
		return Refuse(UnknownToken)
	}
	request := Request{ClientIP: clientIP, Now: now}
	d := Decision{Finding: Finding{Route: f.Route, Match: *m, Binding: f.Binding}}
	if f.Read && f.Route != nil && f.Route.Listing != nil &&
		!slices.Equal(f.Match.Token.Resources, m.Token.Resources) {
		refusal := refuseResource("", "This API key's resources have changed during the response.")
		refusal.Token = m.Token
		return refusal
	}
	for _, c := range tokenChecks {
		if g.check(c, &request, &d, &scratch{}); d.Refused() {
			d.Refusal.Token = m.Token
			break
		}
	}
	return d.Refusal
}
