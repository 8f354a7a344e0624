package admin

import (
	"net/http"
	"slices"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
	// idleAfter is how long a token must be unused to need attention.
	idleAfter = 90 * day
)

// overview is the response to GET /overview.
type overview struct {
	Time     timeOrNull       `json:"time"`
	Requests overviewRequests `json:"requests"`
	// Tokens is null while the first survey is in progress.
	Tokens *survey      `json:"tokens"`
	Health healthChecks `json:"health"`
}

// overviewRequests holds the requests of all API tokens. Hours and days without requests are
// left out.
type overviewRequests struct {
	Hours []requestCount `json:"hours"`
	Days  []requestCount `json:"days"`
}

type requestCount struct {
	Time    timeOrNull `json:"time"`
	Allowed uint64     `json:"allowed"`
	Refused uint64     `json:"refused"`
}

// overview responds with the state of the whole installation. It doesn't wait for a survey of
// many tokens.
func (c *call) overview() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	now := store.Now()
	response := overview{Time: timeOrNull(now)}
	for _, series := range []struct {
		step tokenstore.Step
		from time.Time
		to   *[]requestCount
	}{
		{tokenstore.StepHour, now.Add(-week), &response.Requests.Hours},
		{tokenstore.StepDay, now.Add(-idleAfter), &response.Requests.Days},
	} {
		points, err := store.Totals(series.step, series.from, now.Add(time.Second))
		if err != nil {
			return c.storeRefusal(err)
		}
		*series.to = countRequests(points)
	}
	response.Tokens = c.surveys.get(c, store)
	response.Health, _ = c.checks(store)
	return c.respond(http.StatusOK, response)
}

// countRequests adds up points with the same time.
func countRequests(points []tokenstore.Point) []requestCount {
	counts := []requestCount{}
	for _, p := range points {
		last := len(counts) - 1
		if last < 0 || !time.Time(counts[last].Time).Equal(p.Time) {
			counts, last = append(counts, requestCount{Time: timeOrNull(p.Time)}), last+1
		}
		if p.Outcome == tokenstore.OutcomeOK {
			counts[last].Allowed += p.Count
		} else {
			counts[last].Refused += p.Count
		}
	}
	return slices.Clip(counts)
}

// refusedRequest is a refused request as the API returns it.
type refusedRequest struct {
	Time      timeOrNull `json:"time"`
	Method    textOrNull `json:"method"`
	Path      textOrNull `json:"path"`
	Scope     textOrNull `json:"scope"`
	Code      string     `json:"code"`
	IP        textOrNull `json:"ip"`
	UserAgent textOrNull `json:"user_agent"`
}

// tokenRefusals responds with a token's last refused requests.
func (c *call) tokenRefusals() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	refusals, err := store.Refusals(c.id)
	if err != nil {
		return c.storeRefusal(err)
	}
	response := list[refusedRequest]{Data: make([]refusedRequest, 0, len(refusals))}
	for _, r := range refusals {
		response.Data = append(response.Data, refusedRequest{timeOrNull(r.Time), textOrNull(r.Method),
			textOrNull(r.Path), textOrNull(r.Scope), r.Code, textOrNull(r.IP), textOrNull(r.UserAgent)})
	}
	return c.respond(http.StatusOK, response)
}
