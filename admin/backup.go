package admin

import (
	"net/http"
	"strconv"

	"go.uber.org/zap"
)

// backup responds with a copy of the whole store while the store remains in use.
func (c *call) backup() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	content, length, err := store.Backup()
	if err != nil {
		return c.storeRefusal(err)
	}
	defer func() { _ = content.Close() }() // opened for reading only, so failing to close loses nothing
	h := c.w.Header()
	if damaged := store.Health().Damaged; damaged > 0 {
		h.Set("Mollygate-Damaged-Tokens", strconv.Itoa(damaged))
	}
	if health := store.Health(); health.Write != nil {
		h.Set("Mollygate-Unsaved-Tokens", strconv.Itoa(store.Pending()))
	}
	c.Logger.Info("backup taken", zap.Inline(loggedActor(c.actor)), zap.Int64("bytes", length))
	h.Set("Content-Type", mediaTypeBinary)
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	h.Set("Content-Disposition", `attachment; filename="mollygate-`+store.Now().UTC().Format("20060102T150405Z")+`.db"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(http.StatusOK)
	// The client can tell that a copy is truncated, because it is shorter than its
	// Content-Length.
	if n, err := c.send(content, length); err != nil || n != length {
		c.Logger.Warn("backup aborted", zap.String("actor", c.actor.Name), zap.Int64("bytes", n), zap.Error(err))
	}
	return nil
}
