package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

// confirmWait is how long a call waits for other gates to confirm changes.
const confirmWait = 10 * time.Second

// restored is what a restored backup contains.
type restored struct {
	Tokens       int `json:"tokens"`
	AuditEntries int `json:"audit_entries"`
}

// restore replaces a shared store at all gates with a backup.
func (c *call) restore() *Refusal {
	if refusal := checkMediaType(c.r.Header, mediaTypeBinary); refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if !store.Shared() {
		return refuseError(codeConflict, "No other gates share this token store. To replace it, stop Caddy, "+
			"run caddy api-token restore <backup>, and start Caddy.")
	}
	dir, err := os.MkdirTemp("", "mollygate-restore-") // only this user can read it
	if err != nil {
		return c.refuseReceived(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			c.Logger.Warn("removing a restored backup's temporary copy failed", zap.Error(err))
		}
	}()
	path := filepath.Join(dir, "backup.db")
	if refusal := c.receive(path); refusal != nil {
		return refusal
	}
	backup, err := store.Restore(c.r.Context(), path, c.actor)
	if err != nil {
		return c.errorRefusal(err, "Restoring the backup failed"+cause(err)+
			". See Caddy's log for details, and check the list of tokens before you try again.")
	}
	c.Logger.Warn("backup restored into the shared store: changes since the backup are undone",
		zap.Inline(loggedActor(c.actor)), zap.Int("tokens", backup.Tokens),
		zap.Int("audit_entries", backup.AuditEntries))
	return c.respond(http.StatusOK, restored(backup))
}

// receive writes the body to a new file and then authorizes the caller again. The body can have
// any length, but must not pause for longer than BodyTimeout.
func (c *call) receive(path string) *Refusal {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return c.refuseReceived(err)
	}
	body := &patientBody{Reader: c.r.Body, controller: http.NewResponseController(c.w), timeout: c.BodyTimeout}
	n, err := io.Copy(file, body)
	err = errors.Join(err, file.Close())
	_ = body.controller.SetReadDeadline(time.Time{}) // for the next request
	switch {
	case body.failed != nil:
		refusal := c.refuseBody(body.failed)
		if refusal.Problem.Code == codeInvalidJSON {
			refusal = refuseError(codeInvalidBackup, "The body is incomplete. Nothing was changed; send it again.")
		}
		return refusal
	case err != nil:
		return c.refuseReceived(err)
	case n < c.r.ContentLength: // over HTTP/3, a short body isn't a read error
		return refuseError(codeInvalidBackup, "The body is incomplete. Nothing was changed; send it again.")
	case n == 0:
		return refuseError(codeInvalidBackup, "The body is empty. Send a file from GET backup.")
	}
	c.bodyRead = true
	return c.authorize()
}

// refuseReceived returns the refusal for an error that occurred while saving the body.
func (c *call) refuseReceived(err error) *Refusal {
	return c.errorRefusal(err, "The backup can't be saved in the server's directory for temporary files"+cause(err)+
		". Nothing was changed.")
}

// patientBody is a body that must not pause for longer than the timeout.
type patientBody struct {
	io.Reader
	controller *http.ResponseController
	timeout    time.Duration
	// failed is the error from reading the body, if any.
	failed error
}

func (b *patientBody) Read(p []byte) (int, error) {
	_ = b.controller.SetReadDeadline(time.Now().Add(b.timeout)) // not supported by all writers
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.failed = err
	}
	return n, err
}

type acceptedShared struct {
	Accepted bool `json:"accepted"`
}

// acceptShared makes all gates follow a shared store that has lost changes which they know.
func (c *call) acceptShared() *Refusal {
	if refusal := c.decodeEmpty(); refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if !store.Shared() {
		return refuseError(codeConflict, "No other gates share this token store, so there is nothing to accept.")
	}
	c.mayWait()
	err := store.Accept(c.r.Context(), c.actor)
	switch {
	case errors.Is(err, tokenstore.ErrEmpty):
		return refuseError(codeConflict, "The shared store is empty, so there is nothing to accept. "+
			"Restore a backup with caddy api-token restore <backup> --shared.")
	case err != nil:
		return c.errorRefusal(err, "Accepting the shared store failed"+cause(err)+". See Caddy's log for details.")
	}
	c.Logger.Warn("shared store accepted: tokens that were revoked since it was copied may work again",
		zap.Inline(loggedActor(c.actor)))
	return c.respond(http.StatusOK, acceptedShared{true})
}

// confirmation is the response to POST /confirm.
type confirmation struct {
	// Gates is the number of live gates and of those that are missing.
	Gates   int    `json:"gates"`
	Missing []node `json:"missing"`
}

// mayWait removes the server's limit on the time to read the request, which would end the call.
func (c *call) mayWait() {
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // not supported by all writers
}

// confirm waits until all gates have the changes that were acknowledged before the call.
func (c *call) confirm() *Refusal {
	if refusal := c.decodeEmpty(); refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if err := store.Ping(); err != nil {
		return c.storeRefusal(err)
	}
	response := confirmation{Missing: []node{}}
	if store.Shared() {
		ctx, cancel := context.WithTimeout(c.r.Context(), confirmWait)
		defer cancel()
		c.mayWait()
		missing, err := store.Confirm(ctx)
		if err != nil {
			return c.errorRefusal(err, "The gates can't be asked whether they have all changes"+cause(err)+
				". Changes that were acknowledged are saved.")
		}
		missed := make(map[string]bool, len(missing))
		for _, n := range missing {
			missed[n.ID] = true
			response.Missing = append(response.Missing, nodeObject(n, store.Now()))
		}
		response.Gates = len(missing)
		for _, n := range store.Nodes() {
			if (n.Live || n.Self) && !missed[n.ID] {
				response.Gates++
			}
		}
	}
	return c.respond(http.StatusOK, response)
}
