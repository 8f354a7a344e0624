package caddymodule

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// describeKey responds to a request for [gate.OwnKeyPath].
func (h *BearerAuth) describeKey(w http.ResponseWriter, r *http.Request, store *tokenstore.Store,
	finding *gate.Finding, now time.Time) error {
	metrics.count(outcomeOK)
	p := &exchange{handler: h, store: store, Finding: *finding, now: now}
	p.identity.accept(variables(r), replacer(r), &p.Match.Token)
	store.CountAllowed(p.Match, "", tokenstore.LastUse{Time: now, IP: gate.CanonicalAddress(clientIP(variables(r))),
		UserAgent: userAgent(r), Route: http.MethodGet + " " + gate.OwnKeyPath})
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

func (p *exchange) ownKey() gate.OwnKey {
	t := &p.Match.Token
	rate, quota := p.Limits.Standing()
	k := gate.OwnKey{
		ID: t.ID.String(), Name: t.Name(), Account: t.Account, Scopes: t.Scopes, Resources: t.Resources,
		Rotated: p.Match.Previous,
	}
	end := t.ExpiresAt()
	if k.Rotated {
		end = p.Match.PreviousValidUntil()
	} else {
		k.ExpiresSoon = t.ExpiresSoon(p.handler.app.warnBefore, p.now)
	}
	if !end.IsZero() {
		end = end.UTC()
		k.ExpiresAt = &end
	}
	if rate.Limit > 0 {
		k.RateLimit = &gate.OwnLimit{Requests: t.RateLimit.Requests, Window: token.FormatWindow(t.RateLimit.Window),
			Remaining: rate.Remaining, ResetIn: gate.WholeSeconds(rate.Reset)}
	}
	if quota.Limit > 0 {
		k.Quota = &gate.OwnLimit{Requests: t.Quota.Requests, Period: t.Quota.Period.String(),
			Remaining: quota.Remaining, ResetIn: gate.WholeSeconds(quota.Reset)}
	}
	return k
}
