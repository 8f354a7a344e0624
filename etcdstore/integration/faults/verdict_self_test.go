package faults

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func seenAt(gate int, call time.Duration, status int, what string) sighting {
	s := sighting{Gate: gate, Token: "t", Secret: 1, Call: call * time.Millisecond,
		Return: (call + 10) * time.Millisecond, Status: status}
	if status == 200 {
		s.Name = what
	} else {
		s.Code = what
	}
	return s
}

// TestVerdictChecker checks that the checker accepts good histories and finds the fault in bad
// ones.
func TestVerdictChecker(t *testing.T) {
	t.Parallel()
	const bound = time.Second
	edited := operation{Action: edit, Name: "b", Call: 20, Return: 30, Got: state(2, "b", "active")}
	revoked := operation{Action: revoke, Call: 40, Return: 50, Got: state(3, "b", "revoked")}
	disabled := operation{Action: disable, Call: 40, Return: 50, Got: state(3, "b", "disabled")}
	enabled := operation{Action: enable, Call: 200, Return: 210, Got: state(4, "b", "active")}
	rotated := operation{Action: rotate, Secret: 2, Call: 40, Return: 50, Got: state(3, "b", "active")}
	gone := operation{Action: remove, Call: 40, Return: 50, Status: 204}
	maybe := func(o operation) operation {
		o.Unknown, o.Got, o.Status = true, nil, 0
		return o
	}
	for _, test := range []struct {
		what string
		want string // part of the problem, or empty for a good history
		ops  []operation
		seen []sighting
	}{
		{"all versions in order", "", times(created(), edited, disabled, enabled), []sighting{
			seenAt(1, 20, 401, "unknown_token"), seenAt(1, 40, 200, "a"), seenAt(1, 60, 200, "b"),
			seenAt(1, 100, 401, "disabled_token"), seenAt(1, 220, 200, "b")}},
		{"concurrent requests in any order", "", times(created(), edited), []sighting{
			{Gate: 1, Token: "t", Secret: 1, Call: 20e6, Return: 90e6, Status: 200, Name: "a"},
			seenAt(1, 40, 200, "b")}},
		{"another gate is behind", "", times(created(), edited, revoked), []sighting{
			seenAt(1, 100, 401, "revoked_token"), seenAt(2, 500, 200, "b")}},
		{"a rotation", "", times(created(), edited, rotated), []sighting{
			seenAt(1, 60, 200, "b"), seenAt(1, 100, 401, "unknown_token")}},
		{"a deletion", "", times(created(), edited, gone), []sighting{
			seenAt(1, 60, 200, "b"), seenAt(1, 100, 401, "unknown_token")}},
		{"an unknown revocation in doubt", "", times(created(), edited, maybe(revoked)), []sighting{
			seenAt(0, 60, 401, "revoked_token"), seenAt(0, 100, 200, "b")}},
		{"an unknown disabling before a known one", "", times(created(), edited, maybe(disabled), enabled,
			operation{Action: disable, Call: 300, Return: 310, Got: state(5, "b", "disabled")}), []sighting{
			seenAt(1, 60, 401, "disabled_token"), seenAt(1, 350, 200, "b")}},
		{"a gate that knows neither a rotation nor a deletion", "", times(created(), edited, rotated,
			operation{Action: remove, Call: 60, Return: 70, Status: 204}), []sighting{
			seenAt(1, 60, 200, "b"), {Gate: 1, Token: "t", Secret: 2, Call: 80e6, Return: 90e6, Status: 401,
				Code: "unknown_token"}, seenAt(1, 100, 200, "b")}},
		{"503 with an excuse", "", times(created(), edited), []sighting{seenAt(2, 60, 503, "store_unavailable")}},
		{"no response", "", times(created(), edited), []sighting{seenAt(1, 60, 0, "")}},

		{"a revived verdict", "had ended", times(created(), edited, revoked), []sighting{
			seenAt(1, 100, 401, "revoked_token"), seenAt(1, 200, 200, "b")}},
		{"a revived verdict of a deleted token", "had ended", times(created(), edited, gone), []sighting{
			seenAt(1, 20, 200, "a"), seenAt(1, 100, 401, "unknown_token"), seenAt(1, 200, 200, "b")}},
		{"a revived verdict despite an unknown change", "had ended",
			times(created(), edited, maybe(enabled), revoked), []sighting{
				seenAt(1, 100, 401, "revoked_token"), seenAt(1, 300, 200, "b")}},
		{"a disabled token works again", "older version than before", times(created(), edited, disabled), []sighting{
			seenAt(1, 100, 401, "disabled_token"), seenAt(1, 200, 200, "b")}},
		{"a replaced secret works again", "older version than before", times(created(), edited, rotated), []sighting{
			seenAt(1, 20, 200, "a"), seenAt(1, 100, 401, "unknown_token"), seenAt(1, 200, 200, "b")}},
		{"an older name", "older version than before", times(created(), edited), []sighting{
			seenAt(1, 60, 200, "b"), seenAt(1, 100, 200, "a")}},
		{"a state beyond the bound", "bound permits", times(created(), edited, revoked), []sighting{
			seenAt(1, 1100, 200, "b")}},
		{"a gate that doesn't see its own change", "older version than before", times(created(), edited, revoked),
			[]sighting{seenAt(0, 60, 200, "b")}},
		{"a valid token is refused", "no version", times(created(), edited), []sighting{
			seenAt(1, 100, 401, "revoked_token")}},
		{"a valid token is forbidden", "no version", times(created(), edited), []sighting{
			seenAt(1, 100, 403, "insufficient_scope")}},
		{"a valid token is unknown", "older version than before", times(created(), edited), []sighting{
			seenAt(1, 60, 200, "a"), seenAt(1, 100, 401, "unknown_token")}},
		{"a state from the future", "no version", times(created(), edited,
			operation{Action: edit, Name: "c", Call: 500, Return: 510, Got: state(3, "c", "active")}), []sighting{
			seenAt(1, 100, 200, "c")}},
		{"503 without an excuse", "without a reason", times(created(), edited), []sighting{
			seenAt(1, 60, 503, "store_unavailable")}},
		{"another status", "unexpected", times(created(), edited), []sighting{seenAt(1, 60, 500, "")}},
		{"an older admin read", "older version than before", times(created(), edited,
			operation{Action: get, Gate: 1, Age: "1", Call: 100, Return: 110, Got: state(1, "a", "active")}),
			[]sighting{seenAt(1, 60, 200, "b")}},
		{"an admin read beyond the bound", "bound permits", times(created(), edited,
			operation{Action: get, Gate: 1, Age: "5", Call: 1100, Return: 1110, Got: state(1, "a", "active")}), nil},
	} {
		h := &history{Operations: test.ops, Sightings: test.seen, Excuses: []excuse{{Gate: 2, To: time.Second}}}
		problems := checkVerdicts(h, bound)
		found := slices.ContainsFunc(problems,
			func(p verdictProblem) bool { return strings.Contains(p.What, test.want) })
		if test.want == "" && len(problems) > 0 || test.want != "" && !found {
			t.Errorf("%s: got %v, want %q", test.what, problems, test.want)
		}
	}
}

// TestUsageChecker checks that the checker finds missing and surplus counts.
func TestUsageChecker(t *testing.T) {
	t.Parallel()
	seen := []sighting{seenAt(0, 0, 200, "a"), seenAt(1, 20, 200, "a"), seenAt(1, 40, 0, ""),
		seenAt(2, 60, 200, "a"), seenAt(2, 80, 401, "disabled_token"), // it may have been counted
		seenAt(2, 100, 401, "disabled_token"), seenAt(2, 120, 401, "disabled_token")}
	for count, good := range map[uint64]bool{0: false, 2: false, 3: true, 4: true, 5: true, 6: false, 7: false} {
		problems := checkUsage(seen, map[string]uint64{"t": count})
		if (len(problems) == 0) != good {
			t.Errorf("%d counted: got %v, want good %v", count, problems, good)
		}
	}
	// The counts of a token that never changes are exact.
	seen = []sighting{seenAt(0, 0, 200, "a"), seenAt(1, 20, 200, "a"), seenAt(2, 40, 200, "a")}
	for count, good := range map[uint64]bool{2: false, 3: true, 4: false} {
		if problems := checkUsage(seen, map[string]uint64{"t": count}); (len(problems) == 0) != good {
			t.Errorf("%d counted of a token that never changes: got %v, want good %v", count, problems, good)
		}
	}
}
