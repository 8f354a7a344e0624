package admin

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

const (
	// linkLifetime is how long a sign-in link can be used.
	linkLifetime = 10 * time.Minute
	// maxLinks limits memory use. Once the limit is reached, a new link replaces the link
	// that would expire first.
	maxLinks = 100
)

// Actions in the audit log.
const (
	auditCreateLink = "create sign-in link"
	auditUseLink    = "use sign-in link"
	auditEndLinks   = "end sign-in links"
)

// addLink returns the code of a new sign-in link, and when the link expires.
func (*Sessions) addLink(ctx context.Context, store *tokenstore.Store, of owner) (code string, expires time.Time,
	err error) {
	return put(ctx, store.Values(), linkKey, of, linkLifetime, maxLinks, store.Now())
}

// takeLink removes a link and returns its owner. It reports whether the link was valid. It
// does the same work for a code that was never valid as for one that has expired.
func (*Sessions) takeLink(ctx context.Context, store *tokenstore.Store, code string) (of owner, ok bool, err error) {
	value, err := store.Values().Take(ctx, valueKey(linkKey, code))
	l, ok := decodeSession(value)
	return l.owner, ok && store.Now().Before(l.expires), err
}

// hasSessions reports whether there can be browser sessions.
func (c *call) hasSessions() bool {
	return c.OperatorSessions != nil || c.Bearer != nil && c.Bearer.Sessions != nil
}

// sessions returns the browser sessions. Call it only if the store is open.
func (c *call) sessions() *Sessions {
	if c.OperatorSessions != nil {
		return c.OperatorSessions()
	}
	return c.Bearer.Sessions()
}

// linkOwner returns whose rights the caller's links grant. A session can't create a link,
// because it could then be extended forever. Trusted users sign in at the site.
func (c *call) linkOwner() (owner, *Refusal) {
	if c.OperatorSessions != nil {
		return owner{name: c.actor.Name, operator: true}, nil
	}
	if authorization := c.r.Header["Authorization"]; gate.HasBearer(authorization) {
		credential, refused := gate.ParseBearer(c.Policy.Prefixes, authorization)
		if refused.Code != "" {
			return owner{}, fromGate(refused, c.Bearer.Realm)
		}
		return owner{name: c.actor.Name, credential: credential}, nil
	}
	return owner{}, refuseError(codeLinkCaller,
		"Send an admin key in the Authorization header, or use the command line on the server. "+
			"Browser sessions can't create sign-in links.")
}

// linkObject is a new sign-in link.
type linkObject struct {
	Code      string     `json:"code"`
	ExpiresAt timeOrNull `json:"expires_at"`
}

// createLink creates a sign-in link for the caller.
func (c *call) createLink() *Refusal {
	if refusal := c.decodeEmpty(); refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	of, refusal := c.linkOwner()
	if refusal != nil {
		return refusal
	}
	if err := store.Record(c.actor, auditCreateLink); err != nil {
		return c.changeRefusal(err)
	}
	code, expires, err := c.sessions().addLink(c.r.Context(), store, of)
	if err != nil {
		return c.storeRefusal(err)
	}
	c.Logger.Info("sign-in link created", zap.Inline(loggedActor(c.actor)), zap.Time("expires", expires))
	return c.respond(http.StatusCreated, linkObject{code, timeOrNull(expires)})
}

// endLinks ends the caller's sign-in links and sessions.
func (c *call) endLinks() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if _, refusal := c.linkOwner(); refusal != nil {
		return refusal
	}
	// Sessions must end even if the audit entry can't be written.
	n, err := c.sessions().endAll(c.r.Context(), store, c.actor.Name)
	if err != nil {
		return c.storeRefusal(err)
	}
	c.Logger.Info("sign-in links and sessions ended", zap.Inline(loggedActor(c.actor)), zap.Int("sessions", n))
	if err := store.Record(c.actor, auditEndLinks); err != nil {
		return c.changeRefusal(err)
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// useLink returns the owner of the sign-in link with a code, and the caller as an actor. The
// code can't be used again, even if the sign-in fails for another reason.
func (c *call) useLink(store *tokenstore.Store, code string, secure bool) (owner, tokenstore.Actor, *Refusal) {
	of, ok, err := c.sessions().takeLink(c.r.Context(), store, code)
	switch {
	case err != nil:
		return owner{}, tokenstore.Actor{}, c.storeRefusal(err)
	case !ok:
		return owner{}, tokenstore.Actor{}, refuseError(codeLinkEnded,
			"This sign-in link has expired or was already used. Create another one with `caddy api-token open`.")
	}
	if refusal := c.refuseInsecure(secure); refusal != nil {
		return owner{}, tokenstore.Actor{}, refusal
	}
	actor := tokenstore.Actor{Name: of.name, Address: gate.AddressText(c.Bearer.ClientIP(c.r))}
	if !of.operator {
		now := store.Now()
		match, failed := gate.Present(store, of.credential, token.KindAdmin, now)
		var refusal *Refusal
		actor, refusal = c.Bearer.admit(c.r, store, now, credential{match: match, ip: c.Bearer.ClientIP(c.r),
			route: http.MethodPost + " " + sessionPath}, failed)
		if refusal != nil {
			return owner{}, tokenstore.Actor{}, refusal
		}
	}
	if err := store.Record(actor, auditUseLink); err != nil {
		return owner{}, tokenstore.Actor{}, c.changeRefusal(err)
	}
	return of, actor, nil
}
