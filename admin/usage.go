package admin

import (
	"net/http"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

var usageParameters = []string{"step", "from", "to"}

// usageSteps are the names of the steps, the default first.
var usageSteps = []struct {
	name string
	step tokenstore.Step
}{{"day", tokenstore.StepDay}, {"hour", tokenstore.StepHour}}

type usageSeries struct {
	Step string       `json:"step"`
	Data []usagePoint `json:"data"`
}

type usagePoint struct {
	Time timeOrNull `json:"time"`
	// Scope is null if the request was refused before it was known what it asks for,
	// and for calls of this API.
	Scope   textOrNull `json:"scope"`
	Outcome string     `json:"outcome"`
	Count   uint64     `json:"count"`
}

// tokenUsage tells a token's history.
func (c *call) tokenUsage() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	answer := usageSeries{Step: usageSteps[0].name}
	if step, given := c.parameters["step"]; given {
		answer.Step = step
	}
	var step tokenstore.Step
	for _, s := range usageSteps {
		if s.name == answer.Step {
			step = s.step
		}
	}
	if step == 0 {
		return refuseParameter("step", "must be hour or day")
	}
	// Without a beginning it is all that is kept; what has just begun counts.
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
		return refuseParameter("to", "lies before from")
	}
	points, err := store.Series(c.id, step, from, to)
	if err != nil {
		return c.storeRefusal(err)
	}
	answer.Data = make([]usagePoint, 0, len(points))
	for _, p := range points {
		answer.Data = append(answer.Data, usagePoint{timeOrNull(p.Time), textOrNull(p.Scope), p.Outcome, p.Count})
	}
	return c.answer(http.StatusOK, answer)
}
