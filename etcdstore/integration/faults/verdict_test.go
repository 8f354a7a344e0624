package faults

import (
	"container/heap"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// verdictProblem is a response that a gate must not give.
type verdictProblem struct {
	What string
	Seen view
}

func (p verdictProblem) String() string {
	return fmt.Sprintf("token %s at gate %d: %s: %s", p.Seen.Token, p.Seen.Gate, p.What, p.Seen)
}

// view is what one gate has shown of a token: in a sighting, or in an object in a response of
// the admin API.
type view struct {
	sighting
	// exact is the version in a response of the admin API, or nil.
	exact *uint64
	// local is set if the gate had no contact when it gave the response.
	local bool
}

func (v view) String() string {
	text := fmt.Sprintf("%d to %d ms, ", v.Call.Milliseconds(), v.Return.Milliseconds())
	if v.exact != nil {
		return text + fmt.Sprintf("admin API shows version %d", *v.exact)
	}
	return text + fmt.Sprintf("secret %d gets %d %s %s", v.Secret, v.Status, v.Code, v.Name)
}

// views returns what each gate has shown of each token, sorted by the time of the call.
func views(operations []operation, sightings []sighting) map[string][]view {
	all := make(map[string][]view)
	add := func(v view) {
		key := fmt.Sprintf("%s %d", v.Token, v.Gate)
		all[key] = append(all[key], v)
	}
	for _, s := range sightings {
		if s.Status != 0 {
			add(view{sighting: s})
		}
	}
	for _, o := range operations {
		if o.Got == nil || o.Unknown {
			continue
		}
		add(view{sighting: sighting{Gate: o.Gate, Token: o.Token, Call: o.Call, Return: o.Return},
			exact: &o.Got.Version, local: o.Age != ""})
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b view) int { return int(a.Call - b.Call) })
	}
	return all
}

// checkVerdicts returns the responses that break a rule:
//
//   - A gate sees a token's versions in order.
//   - A gate sees each version within the bound after it was acknowledged. A change that the
//     gate itself has acknowledged is seen immediately.
//   - After a revocation or deletion has been acknowledged and the gate has refused the token's
//     secret, the gate never allows it again.
//   - A gate refuses a token only if a version of the token says so, and responds with 503 only
//     with an excuse.
func checkVerdicts(h *history, bound time.Duration) (problems []verdictProblem) {
	tokens := learn(h.Operations)
	ended := make(map[string]time.Duration)
	for _, o := range h.Operations {
		if !o.Unknown && (o.Action == revoke && o.Status == http.StatusOK ||
			o.Action == remove && o.Status == http.StatusNoContent) {
			if at, ok := ended[o.Token]; !ok || o.Return < at {
				ended[o.Token] = o.Return
			}
		}
	}
	all := views(h.Operations, h.Sightings)
	for _, list := range all {
		k := tokens[list[0].Token]
		if k == nil {
			k = learnToken(nil)
		}
		problems = append(problems, checkOrder(k, list, h.Excuses, bound)...)
		if at, ok := ended[list[0].Token]; ok {
			problems = append(problems, checkEnded(list, at)...)
		}
	}
	slices.SortFunc(problems, func(a, b verdictProblem) int { return int(a.Seen.Return - b.Seen.Return) })
	return problems
}

// checkOrder checks what one gate shows of one token.
func checkOrder(k *knowledge, list []view, excuses []excuse, bound time.Duration) (problems []verdictProblem) {
	var seen uint64      // the newest version that the gate is known to have seen
	var pending returned // views that may not have ended when the next one begins
	problem := func(v view, format string, args ...any) {
		problems = append(problems, verdictProblem{fmt.Sprintf(format, args...), v})
	}
	for _, v := range list {
		for len(pending) > 0 && pending[0].at < v.Call {
			seen = max(seen, heap.Pop(&pending).(seenVersion).number)
		}
		fresh := k.oldest(v.Call - bound)
		var number uint64
		switch {
		case v.exact != nil:
			number = *v.exact
			if number < seen {
				problem(v, "an older version than before, which was %d", seen)
				continue
			}
			if number < fresh {
				problem(v, "an older version than the bound permits, which is %d", fresh)
			}
		case v.Status == http.StatusServiceUnavailable && v.Code == "store_unavailable":
			if !excused(excuses, v) && !k.inDoubt(v.sighting) {
				problem(v, "503 without a reason")
			}
			continue
		case v.Status != http.StatusOK && v.Status != http.StatusUnauthorized && v.Status != http.StatusForbidden:
			problem(v, "an unexpected response")
			continue
		default:
			matched, ok := k.match(v.sighting, max(seen, fresh))
			if k.explained(v.sighting) {
				continue // it can show a version that isn't known
			}
			if !ok {
				switch _, old := k.match(v.sighting, fresh); {
				case old:
					problem(v, "an older version than before, which was %d", seen)
				default:
					_, older := k.match(v.sighting, missing)
					if older {
						problem(v, "an older version than the bound permits, which is %d", fresh)
					} else {
						problem(v, "no version of the token explains this")
					}
				}
				continue
			}
			number = matched
		}
		heap.Push(&pending, seenVersion{v.Return, number})
	}
	return problems
}

func excused(excuses []excuse, v view) bool {
	return slices.ContainsFunc(excuses, func(e excuse) bool {
		return e.Gate == v.Gate && e.From < v.Return && v.Call < e.To
	})
}

// checkEnded checks that a gate which has refused a secret after its token's end never allows it
// again. A gate that hasn't seen a rotation yet also refuses the new secret, as unknown. Such a
// refusal counts only if the gate has allowed the secret before.
func checkEnded(list []view, ended time.Duration) (problems []verdictProblem) {
	allowed, refused := make(map[int]time.Duration), make(map[int]time.Duration)
	for _, v := range list {
		if at, ok := allowed[v.Secret]; v.exact == nil && v.Status == http.StatusOK && (!ok || v.Return < at) {
			allowed[v.Secret] = v.Return
		}
	}
	for _, v := range list {
		if v.exact != nil || v.Call <= ended {
			continue
		}
		at, was := allowed[v.Secret]
		if v.Code == "revoked_token" || v.Code == "unknown_token" && was && at < v.Call {
			if at, ok := refused[v.Secret]; !ok || v.Return < at {
				refused[v.Secret] = v.Return
			}
		}
	}
	for _, v := range list {
		if at, ok := refused[v.Secret]; ok && v.exact == nil && v.Status == http.StatusOK && v.Call > at {
			problems = append(problems, verdictProblem{"the token had ended, and the gate had refused it", v})
		}
	}
	return problems
}

// seenVersion is a version that a gate has seen by a time.
type seenVersion struct {
	at     time.Duration
	number uint64
}

// returned is a heap of versions by time.
type returned []seenVersion

func (r returned) Len() int           { return len(r) }
func (r returned) Less(i, j int) bool { return r[i].at < r[j].at }
func (r returned) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *returned) Push(x any)        { *r = append(*r, x.(seenVersion)) }
func (r *returned) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	*r = (*r)[:last]
	return x
}
