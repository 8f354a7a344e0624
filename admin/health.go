package admin

import (
	"net/http"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

type health struct {
	Status string `json:"status"`
	// Warning is about something that works and should be looked at.
	Warning string `json:"warning,omitzero"`
}

// clockTolerance is how much later than the clock the store's time may be
// before it is worth telling.
const clockTolerance = time.Second

// health says whether the store answers. That the clock is behind is told, but
// is no failure: no token is accepted that shouldn't be.
func (c *call) health() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if _, _, err := store.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 1}); err != nil {
		return c.storeRefusal(err)
	}
	answer := health{Status: "ok"}
	if behind := store.Now().Sub(c.Clock.Now()); behind > clockTolerance {
		answer.Warning = "The clock is " + behind.Round(time.Second).String() + " behind the newest time the token store has recorded. " +
			"The recorded time counts until the clock has caught up; set the clock right."
	}
	return c.answer(http.StatusOK, answer)
}
