package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// createInput is the body of POST /tokens. A null member is treated as missing.
type createInput struct {
	Name       *string         `json:"name"`
	Kind       *string         `json:"kind"`
	Account    *string         `json:"account"`
	Scopes     []text          `json:"scopes"`
	Preset     *string         `json:"preset"`
	Resources  []text          `json:"resources"`
	AllowedIPs []text          `json:"allowed_ips"`
	RateLimit  *rateLimit      `json:"rate_limit"`
	Quota      *quota          `json:"quota"`
	Metadata   map[string]text `json:"metadata"`
	NotBefore  timestamp       `json:"not_before"`
	ExpiresAt  timestamp       `json:"expires_at"`
	ExpiresIn  lifetime        `json:"expires_in"`
}

// draft returns the requested token, without applying the policy.
func (in *createInput) draft(prefixes token.Prefixes) (token.Draft, *Refusal) {
	draft := token.Draft{
		Kind:       token.KindAPI,
		Scopes:     plain(in.Scopes),
		Resources:  plain(in.Resources),
		AllowedIPs: plain(in.AllowedIPs),
		NotBefore:  in.NotBefore.Time,
		Expiry:     expiry(in.ExpiresIn, in.ExpiresAt),
	}
	if in.Kind != nil {
		switch *in.Kind {
		case token.KindAPI.String():
		case token.KindAdmin.String():
			draft.Kind = token.KindAdmin
		default:
			return draft, refuseField("kind", `must be "api" or "admin"`)
		}
	}
	if in.Name != nil {
		draft.Name = *in.Name
	}
	for _, member := range []struct {
		name  string
		given *string
		into  *string
	}{
		{"account", in.Account, &draft.Account},
		{"preset", in.Preset, &draft.Preset},
	} {
		if member.given == nil {
			continue
		}
		if *member.given == "" {
			return draft, refuseField(member.name, ruleEmpty)
		}
		*member.into = *member.given
	}
	if in.RateLimit != nil {
		draft.RateLimit = in.RateLimit.merge(nil)
	}
	if in.Quota != nil {
		draft.Quota = in.Quota.merge(nil)
	}
	metadata := make(map[string]*string, len(in.Metadata))
	if in.Metadata != nil {
		draft.Metadata = make(map[string]string, len(in.Metadata))
		for key, value := range in.Metadata {
			draft.Metadata[key] = string(value)
			metadata[key] = (*string)(&value)
		}
	}
	return draft, refuseSecrets(prefixes, draft.Name, metadata)
}

// ruleEmpty is the rule that an empty value violates.
const ruleEmpty = "is empty; leave it out instead"

// expiry combines the members that set a token's expiry.
func expiry(in lifetime, at timestamp) token.Expiry {
	return token.Expiry{ExpiresIn: in.Lifetime, ExpiresAt: at.Time, NeverExpires: in.never}
}

// refuseSecrets refuses names and metadata that contain a token, because both are listed
// and logged.
func refuseSecrets(prefixes token.Prefixes, name string, metadata map[string]*string) *Refusal {
	const rule = "contains a token, which everyone who can list tokens would see; use its ID, and replace the token"
	if prefixes.Find(name) >= 0 {
		return refuseField("name", rule)
	}
	for key, value := range metadata {
		if prefixes.Find(key) >= 0 || value != nil && prefixes.Find(*value) >= 0 {
			return refuseField("metadata", rule)
		}
	}
	return nil
}

func (c *call) createToken() *Refusal {
	var in createInput
	if refusal := c.decode(&in); refusal != nil {
		return refusal
	}
	draft, refusal := in.draft(c.Policy.Prefixes)
	if refusal != nil {
		return refusal
	}
	request, refusal := c.idempotent()
	if refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	token, secret, repeated, err := store.CreateOnce(c.Policy, draft, c.actor, request)
	if err != nil {
		return c.changeRefusal(err)
	}
	if repeated {
		c.w.Header().Set("Idempotency-Replayed", "true")
		return c.respondWithToken(store, token)
	}
	c.logChange("token created", token)
	c.w.Header().Set("Location", c.location(token.ID))
	c.w.Header().Set("ETag", tagOf(token))
	return c.respond(http.StatusCreated, tokenWithSecret{
		object: c.object(token, tokenstore.Usage{}, store.Now()),
		Token:  secret.Reveal(),
	})
}

// maxIdempotencyKey is the maximum length of an Idempotency-Key, in bytes.
const maxIdempotencyKey = 255

// idempotent returns the data that identifies a repeated request
// (draft-ietf-httpapi-idempotency-key-header): the client's key and the canonical JSON of
// the body.
func (c *call) idempotent() (tokenstore.Request, *Refusal) {
	keys, given := c.r.Header["Idempotency-Key"]
	if !given {
		return tokenstore.Request{}, nil
	}
	invisible := func(r rune) bool { return r <= ' ' || r > '~' }
	if len(keys) != 1 || keys[0] == "" || len(keys[0]) > maxIdempotencyKey ||
		strings.ContainsFunc(keys[0], invisible) {
		return tokenstore.Request{},
			refuseError(codeInvalidHeader,
				fmt.Sprintf("Send Idempotency-Key once, with 1 to %d visible ASCII characters.", maxIdempotencyKey))
	}
	if c.Policy.Prefixes.Find(keys[0]) >= 0 {
		return tokenstore.Request{},
			refuseError(codeInvalidHeader,
				"The Idempotency-Key contains a token. Use a random string, and replace the token.")
	}
	body := jsontext.Value(slices.Clone(c.body))
	if err := body.Canonicalize(); err != nil {
		return tokenstore.Request{}, refuseSyntax(err) // can't happen: decode has already parsed the body
	}
	return tokenstore.Request{Key: keys[0], Body: body}, nil
}

// location returns the Location header for a new token.
func (c *call) location(id token.ID) string {
	base := tokensPath[1:] // relative to the request's path (RFC 3986 section 5.2)
	if c.ClientPath != nil {
		if path := c.ClientPath(c.r); strings.HasSuffix(path, tokensPath) {
			base = path
		}
	}
	return base + "/" + id.String()
}

func (c *call) logChange(message string, token *token.Token) {
	c.Logger.Info(message,
		zap.Stringer("token_id", token.ID), zap.String("token_name", token.Name), zap.Stringer("kind", token.Kind),
		zap.Inline(loggedActor(c.actor)))
}
