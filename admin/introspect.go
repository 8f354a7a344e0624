package admin

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// introspection is the response defined by RFC 7662 section 2.2. For an inactive token, it
// contains only the active member.
type introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitzero"`
	TokenType string `json:"token_type,omitzero"`
	ID        string `json:"jti,omitzero"`
	// Subject is the account that the token acts for.
	Subject   string `json:"sub,omitzero"`
	Username  string `json:"username,omitzero"`
	IssuedAt  int64  `json:"iat,omitzero"`
	NotBefore int64  `json:"nbf,omitzero"`
	Expires   int64  `json:"exp,omitzero"`
	// Name and Kind aren't part of the RFC.
	Name string `json:"name,omitzero"`
	Kind string `json:"kind,omitzero"`
}

const mediaTypeForm = "application/x-www-form-urlencoded"

// introspect reports whether a token is currently valid.
func (c *call) introspect() *Refusal {
	if refusal := checkMediaType(c.r.Header, mediaTypeForm); refusal != nil {
		return refusal
	}
	body, refusal := c.readBody()
	if refusal != nil {
		return refusal
	}
	if bytes.Count(body, []byte("&")) >= maxValues {
		return refuseParameter("token",
			"is sent with too many other fields; send only token and, optionally, token_type_hint")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["token"]) != 1 {
		return refuseParameter("token", "is required exactly once in the form body")
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	credential, err := c.Policy.Prefixes.Parse(form.Get("token"))
	if err != nil {
		return c.respond(http.StatusOK, introspection{})
	}
	found, previous, err := store.Lookup(credential)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return c.respond(http.StatusOK, introspection{})
	}
	if err != nil {
		return c.storeRefusal(err)
	}
	return c.respond(http.StatusOK, newIntrospection(found.Token, previous, store.Now()))
}

func newIntrospection(t *token.Token, previous bool, now time.Time) introspection {
	if t.SecretStatus(previous, now) != token.StatusActive {
		return introspection{}
	}
	issued, end := t.SecretMadeAt, t.ExpiresAt
	if previous {
		issued = time.Time{} // not recorded
		if end.IsZero() || t.PreviousValidUntil.Before(end) {
			end = t.PreviousValidUntil
		}
	}
	return introspection{
		Active: true, Scope: strings.Join(t.Scopes, " "), TokenType: "Bearer", ID: t.ID.String(), Subject: t.Account,
		Username: t.Account,
		IssuedAt: unix(issued), NotBefore: unix(t.NotBefore), Expires: unix(end), Name: t.Name, Kind: t.Kind.String(),
	}
}

// unix returns a time in seconds since 1970, or 0 for the zero time.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
