package admin

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

type health struct {
	Status string `json:"status"`
	// Warning is about something that works and should be looked at.
	Warning string `json:"warning,omitzero"`
}

// health says whether the store answers. That the clock is behind is told, but
// is no failure: no token is accepted that shouldn't be.
func (c *call) health() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if err := store.Ping(); err != nil {
		return c.storeRefusal(err)
	}
	var warnings []string
	if behind := store.ClockBehind(); behind > 0 {
		warnings = append(warnings, "The clock is "+behind.Round(time.Second).String()+" behind the newest time the token store has recorded. "+
			"The recorded time counts until the clock has caught up; set the clock right.")
	} else if ahead := store.ClockAhead(); ahead > 0 {
		warnings = append(warnings, "The clock is "+ahead.Round(time.Second).String()+" ahead of the time that has passed while the token store was in use. "+
			"Nothing old is deleted until it is confirmed with caddy api-token clock accept, or set right.")
	}
	switch err := store.CountsAtRisk(); {
	case errors.Is(err, tokenstore.ErrCountsUnread):
		warnings = append(warnings, "Counts of an earlier Caddy process can't be read and are missing, also in quotas. Caddy's log says what to do.")
	case err != nil:
		warnings = append(warnings, "Counts that aren't saved yet would be lost if Caddy were killed, or have been. Caddy's log says why.")
	}
	return c.answer(http.StatusOK, health{Status: "ok", Warning: strings.Join(warnings, " ")})
}

type acceptedClock struct {
	From    moment `json:"from"`
	To      moment `json:"to"`
	Changed bool   `json:"changed"`
}

// acceptClock takes the clock for right: after it wrongly ran ahead, or after the store
// was not in use for days.
func (c *call) acceptClock() *Refusal {
	if refusal := c.decodeNothing(); refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	from, to, err := store.AcceptClock(c.actor)
	if err != nil {
		return c.changeRefusal(err)
	}
	changed := !to.Equal(from)
	if changed {
		consequence := "old audit entries and usage are deleted again"
		if to.Before(from) {
			consequence = "tokens that had expired by the recorded time may be valid again"
		}
		c.Logger.Warn("clock accepted: "+consequence,
			zap.Time("recorded", from), zap.Time("clock", to), zap.Inline(loggedActor(c.actor)))
	}
	return c.answer(http.StatusOK, acceptedClock{moment(from), moment(to), changed})
}
