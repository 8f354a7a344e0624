package admin

import (
	"errors"
	"net/http"

	"go.uber.org/zap"
)

type compacted struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// compactStore gives back the disk space of what was deleted.
func (c *call) compactStore() *Refusal {
	if refusal := c.decodeNothing(); refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	before, after, err := store.Compact(c.actor)
	if errors.Is(err, errors.ErrUnsupported) {
		return refuseError(codeConflict, "This kind of token store can't be compacted.")
	}
	if err != nil {
		return c.errorRefusal(err, "The token store couldn't be compacted"+cause(err)+
			". It is as it was. Caddy's log says more.")
	}
	c.Logger.Info("token store compacted", zap.Inline(loggedActor(c.actor)), zap.Int64("before", before),
		zap.Int64("after", after))
	return c.answer(http.StatusOK, compacted{before, after})
}
