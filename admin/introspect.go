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

// introspection is the answer of RFC 7662 section 2.2. Of a token that isn't active
// nothing else is told.
type introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitzero"`
	TokenType string `json:"token_type,omitzero"`
	ID        string `json:"jti,omitzero"`
	// Subject is the backend user on whose behalf the token acts.
	Subject   string `json:"sub,omitzero"`
	Username  string `json:"username,omitzero"`
	IssuedAt  int64  `json:"iat,omitzero"`
	NotBefore int64  `json:"nbf,omitzero"`
	Expires   int64  `json:"exp,omitzero"`
	// Name and Kind are no part of the RFC.
	Name string `json:"name,omitzero"`
	Kind string `json:"kind,omitzero"`
}

const mediaTypeForm = "application/x-www-form-urlencoded"

// introspect says whether a token is good at this timeOrNull.
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
			"comes with too many other fields; send token and, if you like, token_type_hint")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["token"]) != 1 {
		return refuseParameter("token", "is required, once, in the form that is the body")
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	credential, err := c.Policy.Prefixes.Parse(form.Get("token"))
	if err != nil {
		return c.answer(http.StatusOK, introspection{})
	}
	found, previous, err := store.Lookup(credential)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return c.answer(http.StatusOK, introspection{})
	}
	if err != nil {
		return c.storeRefusal(err)
	}
	return c.answer(http.StatusOK, newIntrospection(found.Token, previous, store.Now()))
}

func newIntrospection(t *token.Token, previous bool, now time.Time) introspection {
	if t.SecretStatus(previous, now) != token.StatusActive {
		return introspection{}
	}
	made, end := t.SecretMadeAt, t.ExpiresAt
	if previous {
		made = time.Time{} // which nothing says
		if end.IsZero() || t.PreviousValidUntil.Before(end) {
			end = t.PreviousValidUntil
		}
	}
	return introspection{
		Active: true, Scope: strings.Join(t.Scopes, " "), TokenType: "Bearer", ID: t.ID.String(), Subject: t.Account,
		Username: t.Account,
		IssuedAt: unix(made), NotBefore: unix(t.NotBefore), Expires: unix(end), Name: t.Name, Kind: t.Kind.String(),
	}
}

// unix is a time in seconds since 1970, or 0 for none.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
