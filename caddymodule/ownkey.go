package caddymodule

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// ownKey is what a client learns about its own API key. It contains nothing that the client
// couldn't find out from responses, and nothing that admins noted about the key.
type ownKey struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Account string   `json:"account"`
	Scopes  []string `json:"scopes"`
	// Resources are the resources to which the key is bound, or null.
	Resources []string `json:"resources"`
	// ExpiresAt is when the presented secret stops working, or null.
	ExpiresAt   *time.Time `json:"expires_at"`
	ExpiresSoon bool       `json:"expires_soon"`
	// Rotated reports whether a newer secret has replaced the presented one.
	Rotated   bool        `json:"rotated"`
	RateLimit *ownKeyRate `json:"rate_limit"`
	Quota     *ownQuota   `json:"quota"`
}

type ownKeyRate struct {
	Requests  int64  `json:"requests"`
	Window    string `json:"window"`
	Remaining int64  `json:"remaining"`
	// ResetIn is the number of seconds until all requests are available again, or until the
	// next one if none are left.
	ResetIn int64 `json:"reset_in"`
}

type ownQuota struct {
	Requests  int64  `json:"requests"`
	Period    string `json:"period"`
	Remaining int64  `json:"remaining"`
	// ResetIn is the number of seconds until the period ends.
	ResetIn int64 `json:"reset_in"`
}

// describeKey responds to a request for [gate.OwnKeyPath].
func (h *BearerAuth) describeKey(w http.ResponseWriter, r *http.Request, store *tokenstore.Store,
	finding *gate.Finding, now time.Time) error {
	metrics.count(outcomeOK)
	p := &exchange{handler: h, store: store, Finding: *finding, now: now, clientIP: clientIP(r)}
	p.identity.accept(r, &p.Match.Token)
	store.CountAllowed(p.Match, "", tokenstore.LastUse{Time: now, IP: clientIPText(r, p.clientIP),
		UserAgent: r.UserAgent(), Route: http.MethodGet + " " + gate.OwnKeyPath})
	body, err := json.Marshal(p.ownKey())
	if err != nil {
		return err // can't happen: all fields can be marshaled
	}
	header := w.Header()
	p.setNotices(header)
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("Vary", "Authorization") // for caches that ignore no-store
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(append(body, '\n')) // the client may have disconnected
	return nil
}

func (p *exchange) ownKey() ownKey {
	t, limits := &p.Match.Token, &p.Limits
	k := ownKey{
		ID: t.ID.String(), Name: t.Name(), Account: t.Account, Scopes: t.Scopes, Resources: t.Resources,
		Rotated: p.Match.Previous,
	}
	end := t.ExpiresAt
	if k.Rotated {
		end = p.Match.PreviousValidUntil
	} else {
		k.ExpiresSoon = t.ExpiresSoon(p.handler.app.warnBefore, p.now)
	}
	if !end.IsZero() {
		end = end.UTC()
		k.ExpiresAt = &end
	}
	if limits.Rate.Limit > 0 {
		k.RateLimit = &ownKeyRate{t.RateLimit.Requests, token.FormatWindow(t.RateLimit.Window), limits.Rate.Remaining,
			wholeSeconds(limits.Rate.Reset)}
	}
	if limits.Quota.Limit > 0 {
		k.Quota = &ownQuota{t.Quota.Requests, t.Quota.Period.String(), limits.Quota.Remaining,
			wholeSeconds(limits.Quota.Reset)}
	}
	return k
}

// wholeSeconds rounds up, like the RateLimit header.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
