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

// compactStore rebuilds the store's file to reclaim the disk space of deleted records.
func (c *call) compactStore() *Refusal {
	if refusal := c.decodeEmpty(); refusal != nil {
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
		return c.errorRefusal(err, "Compacting the token store failed"+cause(err)+
			". The store is unchanged. See Caddy's log for details.")
	}
	c.Logger.Info("token store compacted", zap.Inline(loggedActor(c.actor)), zap.Int64("before", before),
		zap.Int64("after", after))
	return c.respond(http.StatusOK, compacted{before, after})
}
