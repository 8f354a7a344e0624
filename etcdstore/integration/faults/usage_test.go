package faults

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// uses is how often clients used a token successfully, and how often they don't know whether the
// request was counted.
type uses struct{ allowed, unknown uint64 }

// countUses returns the uses of each token.
//
// A gate counts a request as allowed before it sends it to the backend. If the token changes or
// the gate becomes stale at that moment, the gate still refuses the request. A refused request
// therefore may be counted if it began before the gate was known to refuse the secret.
func countUses(sightings []sighting) map[string]uses {
	sorted := slices.Clone(sightings)
	slices.SortFunc(sorted, func(a, b sighting) int { return cmp.Compare(a.Call, b.Call) })
	type key struct {
		token        string
		gate, secret int
	}
	refusing := make(map[key]time.Duration) // since when the gate is known to refuse a secret
	counts := make(map[string]uses)
	for _, s := range sorted {
		n, k := counts[s.Token], key{s.Token, s.Gate, s.Secret}
		switch since, known := refusing[k]; {
		case s.Status == http.StatusOK:
			n.allowed++
			delete(refusing, k)
		case s.Status == 0, s.Status == http.StatusBadGateway, s.Status == http.StatusGatewayTimeout:
			n.unknown++
		case !known:
			refusing[k] = s.Return
			n.unknown++
		case s.Call < since:
			refusing[k] = min(since, s.Return)
			n.unknown++
		}
		counts[s.Token] = n
	}
	return counts
}

// usageProblem is a token whose requests are counted wrongly.
type usageProblem struct {
	token    string
	reported uint64
	known    uses
}

func (p usageProblem) String() string {
	return fmt.Sprintf("token %s: %d requests counted, want %d to %d", p.token, p.reported, p.known.allowed,
		p.known.allowed+p.known.unknown)
}

// checkUsage compares the counts that the gates report, by token, with what the clients know.
func checkUsage(sightings []sighting, reported map[string]uint64) (problems []usageProblem) {
	counts := countUses(sightings)
	for token, count := range reported {
		n := counts[token]
		if count < n.allowed || count > n.allowed+n.unknown {
			problems = append(problems, usageProblem{token, count, n})
		}
	}
	slices.SortFunc(problems, func(a, b usageProblem) int { return strings.Compare(a.token, b.token) })
	return problems
}
