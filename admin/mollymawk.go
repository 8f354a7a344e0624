package admin

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// NewMollymawk returns a handler that serves Mollymawk's own token calls at Mollymawk's
// paths, for clients that create their tokens with these calls. Responses use Mollymawk's
// envelope format. Clients can also parse a refusal's problem details as an envelope.
func NewMollymawk(config Config) http.Handler {
	return &mollymawkAPI{newAPI(config)}
}

type mollymawkAPI struct{ *api }

// MollymawkPath is the path prefix of Mollymawk's calls.
const MollymawkPath = "/api/tokens/"

// mollymawkCalls maps paths to Mollymawk's calls, all of which are POST requests.
var mollymawkCalls = map[string]func(*call, *mollymawkInput) *Refusal{
	MollymawkPath + "create": (*call).mollymawkCreate,
	MollymawkPath + "update": (*call).mollymawkUpdate,
	MollymawkPath + "delete": (*call).mollymawkDelete,
}

// mollymawkInput is the body of all three calls.
type mollymawkInput struct {
	Name   *string `json:"token_name"`
	Expiry *int64  `json:"token_expiry"` // seconds after creation
	// Value is the token's ID or the complete token.
	Value *string `json:"token_value"`
	// CSRF is ignored: only calls authenticated with a cookie need it.
	CSRF jsontext.Value `json:"molly_csrf"`
}

// envelope is the format of Mollymawk's responses.
type envelope struct {
	Status  int    `json:"status"`
	Title   string `json:"title"`
	Success bool   `json:"success"`
	Data    any    `json:"data"`
}

type mollymawkObject struct {
	TokenType  string `json:"token_type"`
	Value      string `json:"value"`
	ExpiresIn  int64  `json:"expires_in"`
	CreatedAt  string `json:"created_at"`
	LastAccess string `json:"last_access"`
	Name       string `json:"name"`
	UsageCount uint64 `json:"usage_count"`
}

// ServeHTTP implements http.Handler.
func (m *mollymawkAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(m.api, w, r)
	if refusal := c.serveMollymawk(); refusal != nil {
		c.refuse(refusal)
	}
}

func (c *call) serveMollymawk() *Refusal {
	if refusal := c.admit(); refusal != nil {
		return refusal
	}
	serve, known := mollymawkCalls[c.r.URL.EscapedPath()]
	switch {
	case !known:
		return refuseError(codeNotFound, "There is nothing at this path.")
	case c.r.Method != http.MethodPost:
		return refuseMethod(http.MethodPost)
	}
	var in mollymawkInput
	if refusal := c.decode(&in); refusal != nil {
		return refusal
	}
	return serve(c, &in)
}

// respondInEnvelope writes data in Mollymawk's envelope.
func (c *call) respondInEnvelope(data any) *Refusal {
	return c.respond(http.StatusOK, envelope{http.StatusOK, "200", true, data})
}

func newMollymawkObject(t tokenstore.TokenUsage, value string) mollymawkObject {
	o := mollymawkObject{
		TokenType: "Bearer", Value: value, CreatedAt: t.Token.CreatedAt.UTC().Format(mollymawkTime),
		Name: t.Token.Name, UsageCount: t.Usage.Allowed,
	}
	o.LastAccess = o.CreatedAt // as Mollymawk does for a token that has never been used
	if last := t.Usage.Last.Time; !last.IsZero() {
		o.LastAccess = last.UTC().Format(mollymawkTime)
	}
	if !t.Token.ExpiresAt.IsZero() {
		o.ExpiresIn = int64(t.Token.ExpiresAt.Sub(t.Token.CreatedAt.Truncate(time.Second)) / time.Second)
	}
	return o
}

func (c *call) mollymawkCreate(in *mollymawkInput) *Refusal {
	draft := token.Draft{Kind: token.KindAPI, Preset: presetOfImports}
	if in.Name != nil {
		draft.Name = *in.Name
	}
	if in.Expiry == nil {
		return refuseField("token_expiry", "is required: a whole number of seconds")
	}
	var err error
	if draft.ExpiresIn, err = token.LifetimeOfSeconds(*in.Expiry); err != nil {
		return refuseField("token_expiry", err.Error())
	}
	if refusal := refuseSecrets(c.Policy.Prefixes, draft.Name, nil); refusal != nil {
		return refuseMollymawkField(refusal)
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	token, secret, err := store.Create(c.Policy, draft, c.actor)
	if err != nil {
		return refuseMollymawkField(c.changeRefusal(err))
	}
	c.logChange("token created", token)
	return c.respondInEnvelope(newMollymawkObject(tokenstore.TokenUsage{Token: token}, secret.Reveal()))
}

func (c *call) mollymawkUpdate(in *mollymawkInput) *Refusal {
	store, tok, refusal := c.mollymawkToken(in)
	if refusal != nil {
		return refusal
	}
	edit := token.Edit{Name: in.Name}
	if in.Name != nil {
		if refusal := refuseSecrets(c.Policy.Prefixes, *in.Name, nil); refusal != nil {
			return refuseMollymawkField(refusal)
		}
	}
	if in.Expiry != nil {
		lifetime, err := token.LifetimeOfSeconds(*in.Expiry)
		if err != nil {
			return refuseField("token_expiry", err.Error())
		}
		end, err := lifetime.From(tok.CreatedAt.Truncate(time.Second))
		if err != nil {
			return refuseField("token_expiry", err.Error())
		}
		edit.Expiry = &token.Expiry{ExpiresAt: end}
	}
	tok, err := store.Edit(c.Policy, tok.ID, edit, c.actor)
	if err != nil {
		return refuseMollymawkField(c.changeRefusal(err))
	}
	c.logChange("token edited", tok)
	value := tok.Hint()
	if value == "" { // an imported token has no public part
		value = tok.ID.String()
	}
	return c.respondInEnvelope(newMollymawkObject(c.withUsage(store, tok), value))
}

func (c *call) mollymawkDelete(in *mollymawkInput) *Refusal {
	store, tok, refusal := c.mollymawkToken(in)
	if refusal != nil {
		return refusal
	}
	if err := store.Delete(tok.ID, token.AnyVersion, c.actor); err != nil {
		return c.changeRefusal(err)
	}
	c.logChange("token deleted", tok)
	return c.respondInEnvelope("Token deleted successfully")
}

// mollymawkToken finds the token that the input identifies, either by ID or by the
// complete token.
func (c *call) mollymawkToken(in *mollymawkInput) (*tokenstore.Store, *token.Token, *Refusal) {
	if in.Value == nil {
		return nil, nil, refuseField("token_value", "is required: the token's ID, or the whole token")
	}
	store, refusal := c.store()
	if refusal != nil {
		return nil, nil, refusal
	}
	var found tokenstore.TokenUsage
	id, err := token.ParseID(*in.Value)
	if err == nil {
		found, err = store.Get(id)
	} else if credential, malformed := c.Policy.Prefixes.Parse(*in.Value); malformed == nil {
		found, _, err = store.Lookup(credential)
	} else {
		err = tokenstore.ErrNotFound
	}
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil, nil, refuseError(codeNotFound, "Token not found")
	}
	if err != nil {
		return nil, nil, c.storeRefusal(err)
	}
	return store, found.Token, nil
}

// refuseMollymawkField replaces the member name in a refusal with the name in Mollymawk's
// API.
func refuseMollymawkField(refusal *Refusal) *Refusal {
	names := map[string]string{"name": "token_name", "expires_in": "token_expiry", "expires_at": "token_expiry"}
	for _, member := range refusal.Problem.Members {
		field, _ := member.Value.(string)
		if name, renamed := names[field]; renamed && member.Name == "field" {
			return refuseField(name, strings.TrimPrefix(refusal.Problem.Detail, field+": "))
		}
	}
	return refusal
}
