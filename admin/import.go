package admin

import (
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// importInput is the body of POST import.
type importInput struct {
	Format  *string        `json:"format"`
	Account *string        `json:"account"`
	Data    jsontext.Value `json:"data"`
	Scopes  []text         `json:"scopes"`
	Preset  *string        `json:"preset"`
}

// mollymawkRecord is what is read of the user record that Mollymawk's sign-in
// answers with. The rest of it, the hash of a password and cookies among it, is
// neither kept nor logged.
type mollymawkRecord struct {
	// Data is set if the whole answer was given and not only its data.
	Data   *mollymawkRecord `json:"data"`
	Tokens []mollymawkToken `json:"tokens"`
}

type mollymawkToken struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	ExpiresIn int64  `json:"expires_in"` // seconds
	CreatedAt string `json:"created_at"`
}

// mollymawkTime is how Mollymawk writes times: UTC, in whole seconds.
const mollymawkTime = "2006-01-02 15:04:05-00:00"

type imported struct {
	Imported []string        `json:"imported"`
	Skipped  []skippedImport `json:"skipped"`
	// Capped are those whose end was moved to what max_lifetime allows.
	Capped []cappedImport `json:"capped"`
}

type skippedImport struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

type cappedImport struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	ExpiresAt timeOrNull `json:"expires_at"`
}

// presetOfImports is what imported tokens may do unless it is said: what they
// always could.
const presetOfImports = "full"

// importTokens takes over the tokens of one of Mollymawk's users, so that its
// clients keep theirs.
func (c *call) importTokens() *Refusal {
	var in importInput
	if refusal := c.decode(&in); refusal != nil {
		return refusal
	}
	record, refusal := in.record()
	if refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	draft := token.Draft{Kind: token.KindAPI, Scopes: plain(in.Scopes), Preset: presetOfImports}
	switch {
	case in.Account != nil && *in.Account == "":
		return refuseField("account", ruleEmpty)
	case in.Preset != nil && *in.Preset == "":
		return refuseField("preset", ruleEmpty)
	}
	if in.Account != nil {
		draft.Account = *in.Account
	}
	if in.Preset != nil {
		draft.Preset = *in.Preset
	} else if in.Scopes != nil {
		draft.Preset = ""
	}
	if err := c.Policy.Check(draft, store.Now()); err != nil {
		return c.storeRefusal(err)
	}
	result := imported{Imported: []string{}, Skipped: []skippedImport{}, Capped: []cappedImport{}}
	for _, token := range record.Tokens {
		if refusal := c.importToken(store, draft, token, &result); refusal != nil {
			return refusal
		}
	}
	return c.answer(http.StatusOK, result)
}

// record reads the user record.
func (in *importInput) record() (*mollymawkRecord, *Refusal) {
	if in.Format == nil || *in.Format != "mollymawk" {
		return nil, refuseField("format", `must be "mollymawk"`)
	}
	const rule = "must be the user record that Mollymawk's /api/login answers with, in which there are tokens"
	if in.Data.Kind() != '{' {
		return nil, refuseField("data", rule)
	}
	record := new(mollymawkRecord)
	if err := json.Unmarshal(in.Data, record); err != nil {
		return nil, refuseField("data", rule)
	}
	if record.Data != nil && record.Tokens == nil {
		record = record.Data
	}
	if record.Tokens == nil {
		return nil, refuseField("data", rule)
	}
	return record, nil
}

// importToken takes over one token or says why not. A refusal is about all of them.
func (c *call) importToken(store *tokenstore.Store, draft token.Draft, tok mollymawkToken, result *imported) *Refusal {
	draft.Name = importedName(tok.Name)
	skip := func(reason string) *Refusal {
		result.Skipped = append(result.Skipped, skippedImport{draft.Name, redact(reason)})
		return nil
	}
	if refusal := refuseSecrets(c.Policy.Prefixes, visible(tok.Name), nil); refusal != nil {
		return skip("its name holds a token")
	}
	if c.isUpstreamToken(tok.Value) {
		return skip("it is an upstream token of the gate; give its clients keys of their own")
	}
	made, err := time.Parse(mollymawkTime, tok.CreatedAt)
	if err != nil {
		return skip("its created_at is none of Mollymawk's times")
	}
	var expired bool
	if draft.Expiry, expired = importedExpiry(made, tok.ExpiresIn, store.Now()); expired {
		return skip("it has expired")
	}
	taken, capped, err := store.Import(c.Policy, draft, tok.Value, c.actor)
	if errors.Is(err, tokenstore.ErrUnauthorized) {
		return c.changeRefusal(err)
	}
	field, wrong := errors.AsType[*token.FieldError](err)
	ended, hasEnded := errors.AsType[*tokenstore.EndedError](err)
	switch {
	case err == nil:
	case hasEnded:
		return skip(endedReason(ended))
	case errors.Is(err, tokenstore.ErrTaken):
		return skip("it has been imported already")
	case wrong && (field.Field == "value" || field.Field == "name" || field.Field == "expires_at"):
		return skip(field.Field + ": " + field.Rule)
	case wrong:
		return c.storeRefusal(err)
	default:
		refusal := c.storeRefusal(err)
		refusal.Problem.Detail = "The token store couldn't be written" + cause(err) +
			". Caddy's log says more. Import again: what has been imported already is skipped then."
		return refusal
	}
	result.Imported = append(result.Imported, taken.ID.String())
	if capped {
		result.Capped = append(result.Capped, cappedImport{taken.ID.String(), taken.Name, timeOrNull(taken.ExpiresAt)})
	}
	c.Logger.Info("token imported", zap.Stringer("token_id", taken.ID), zap.String("token_name", taken.Name),
		zap.Inline(loggedActor(c.actor)), zap.Bool("capped", capped))
	return nil
}

// isUpstreamToken reports whether the value is a token that the gate presents itself.
func (c *call) isUpstreamToken(value string) bool {
	credential, err := c.Policy.Prefixes.Parse(value)
	return err == nil && c.IsUpstreamToken != nil && c.IsUpstreamToken(credential.Digest)
}

// endedReason returns why an ended secret is skipped.
func endedReason(ended *tokenstore.EndedError) string {
	if ended.At.IsZero() {
		return "its secret was taken out of service"
	}
	return "its secret was taken out of service on " + ended.At.UTC().Format(time.DateOnly) +
		", when its token was rotated or deleted"
}

// importedExpiry returns when Mollymawk would have taken the token for the last
// time: it takes any number of seconds, counted from the creation.
func importedExpiry(made time.Time, seconds int64, now time.Time) (expiry token.Expiry, ended bool) {
	const aLongTime = 200 * 366 * 24 * 60 * 60 // within what time.Duration holds
	if seconds > aLongTime {
		return token.Expiry{NeverExpires: true}, false
	}
	end := made.Add(time.Duration(max(seconds, -aLongTime)) * time.Second)
	return token.Expiry{ExpiresAt: end}, !now.Before(end)
}

// maxImportedName is in characters; longer names are cut.
const maxImportedName = 100

// importedName makes a good name of one that Mollymawk let pass. Where a name may
// be a token, which everybody who may list tokens would see, it is taken out.
func importedName(name string) string {
	name = redact(visible(name))
	if runes := []rune(name); len(runes) > maxImportedName {
		name = string(runes[:maxImportedName])
	}
	if name = strings.TrimSpace(name); name == "" {
		return "imported from Mollymawk"
	}
	return name
}

// visible leaves out what can't be seen.
func visible(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cf) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
}
