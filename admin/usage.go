package admin

import (
	"net/http"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

var usageParameters = []string{"step", "from", "to"}

// usageSteps maps names to steps. The first is the default.
var usageSteps = []struct {
	name string
	step tokenstore.Step
}{{"day", tokenstore.StepDay}, {"hour", tokenstore.StepHour}}

type usageSeries struct {
	Step string       `json:"step"`
	Data []usagePoint `json:"data"`
	// ByNode is the token's usage at each gate that shares the store, whatever the range is. It
	// is missing if the store isn't shared.
	ByNode []nodeUsage `json:"by_node,omitzero"`
}

type usagePoint struct {
	Time timeOrNull `json:"time"`
	// Scope is null if the request was refused before its route was known, and for calls
	// to this API.
	Scope   textOrNull `json:"scope"`
	Outcome string     `json:"outcome"`
	Count   uint64     `json:"count"`
}

// tokenUsage responds with a token's usage history.
func (c *call) tokenUsage() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	response := usageSeries{Step: usageSteps[0].name}
	if step, given := c.parameters["step"]; given {
		response.Step = step
	}
	var step tokenstore.Step
	for _, s := range usageSteps {
		if s.name == response.Step {
			step = s.step
		}
	}
	if step == 0 {
		return refuseParameter("step", "must be hour or day")
	}
	// By default, the range covers the whole history, including the current second.
	from, to := time.Time{}, store.Now().Add(time.Second)
	for name, t := range map[string]*time.Time{"from": &from, "to": &to} {
		if text, given := c.parameters[name]; given {
			var rule string
			if *t, rule = parseTime(text); rule != "" {
				return refuseParameter(name, rule)
			}
		}
	}
	if _, given := c.parameters["to"]; given && to.Before(from) {
		return refuseParameter("to", "is before from")
	}
	points, err := store.Series(c.id, step, from, to)
	if err == nil {
		response.ByNode, err = c.usageByNode(store)
	}
	if err != nil {
		return c.storeRefusal(err)
	}
	response.Data = make([]usagePoint, 0, len(points))
	for _, p := range points {
		response.Data = append(response.Data, usagePoint{timeOrNull(p.Time), textOrNull(p.Scope), p.Outcome, p.Count})
	}
	return c.respond(http.StatusOK, response)
}
