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

// importInput is the body of POST /import.
type importInput struct {
	Format  *string        `json:"format"`
	Account *string        `json:"account"`
	Data    jsontext.Value `json:"data"`
	Scopes  []text         `json:"scopes"`
	Preset  *string        `json:"preset"`
}

// mollymawkRecord holds the parts of the user record in Mollymawk's sign-in response that
// importTokens needs. The rest, including a password hash and cookies, is neither stored
// nor logged.
type mollymawkRecord struct {
	// Data is set if the caller sent the whole response instead of only its data member.
	Data   *mollymawkRecord `json:"data"`
	Tokens []mollymawkToken `json:"tokens"`
}

type mollymawkToken struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	ExpiresIn int64  `json:"expires_in"` // seconds
	CreatedAt string `json:"created_at"`
}

// mollymawkTime is Mollymawk's time format: UTC, in whole seconds.
const mollymawkTime = "2006-01-02 15:04:05-00:00"

type imported struct {
	Imported []string        `json:"imported"`
	Skipped  []skippedImport `json:"skipped"`
	// Capped lists the imported tokens whose lifetime was shortened to max_lifetime.
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

// presetOfImports is the default preset for imported tokens. It grants the same access as
// Mollymawk did.
const presetOfImports = "full"

// importTokens imports a Mollymawk user's tokens, so the user's clients can keep using
// them.
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
	return c.respond(http.StatusOK, result)
}

// record returns the user record.
func (in *importInput) record() (*mollymawkRecord, *Refusal) {
	if in.Format == nil || *in.Format != "mollymawk" {
		return nil, refuseField("format", `must be "mollymawk"`)
	}
	const rule = "must be the user record from the response of Mollymawk's /api/login, with tokens"
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

// importToken imports a token or records it as skipped. It returns a refusal only if the
// import can't continue.
func (c *call) importToken(store *tokenstore.Store, draft token.Draft, tok mollymawkToken, result *imported) *Refusal {
	draft.Name = importedName(tok.Name)
	skip := func(reason string) *Refusal {
		result.Skipped = append(result.Skipped, skippedImport{draft.Name, redact(reason)})
		return nil
	}
	if refusal := refuseSecrets(c.Policy.Prefixes, visible(tok.Name), nil); refusal != nil {
		return skip("its name contains a token")
	}
	if c.isUpstreamToken(tok.Value) {
		return skip("it is the gate's upstream token; create separate keys for its clients")
	}
	created, err := time.Parse(mollymawkTime, tok.CreatedAt)
	if err != nil {
		return skip("its created_at isn't in Mollymawk's time format")
	}
	var expired bool
	if draft.Expiry, expired = importedExpiry(created, tok.ExpiresIn, store.Now()); expired {
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
		return skip("it is already imported")
	case wrong && (field.Field == "value" || field.Field == "name" || field.Field == "expires_at"):
		return skip(field.Field + ": " + field.Rule)
	case wrong:
		return c.storeRefusal(err)
	default:
		refusal := c.storeRefusal(err)
		refusal.Problem.Detail = "Writing to the token store failed" + cause(err) +
			". See Caddy's log for details. Run the import again: it skips tokens that are already imported."
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

// isUpstreamToken reports whether the value is an upstream token.
func (c *call) isUpstreamToken(value string) bool {
	credential, err := c.Policy.Prefixes.Parse(value)
	return err == nil && c.IsUpstreamToken != nil && c.IsUpstreamToken(credential.Digest)
}

// endedReason returns the reason for skipping a token whose secret has been retired.
func endedReason(ended *tokenstore.EndedError) string {
	if ended.At.IsZero() {
		return "its secret has been retired"
	}
	return "its secret was retired on " + ended.At.UTC().Format(time.DateOnly) +
		", when its token was rotated or deleted"
}

// importedExpiry returns the token's expiry in Mollymawk and reports whether the token has
// expired. Mollymawk lets a token expire any number of seconds after its creation.
func importedExpiry(created time.Time, seconds int64, now time.Time) (expiry token.Expiry, expired bool) {
	const aLongTime = 200 * 366 * 24 * 60 * 60 // fits in a time.Duration
	if seconds > aLongTime {
		return token.Expiry{NeverExpires: true}, false
	}
	end := created.Add(time.Duration(max(seconds, -aLongTime)) * time.Second)
	return token.Expiry{ExpiresAt: end}, !now.Before(end)
}

// maxImportedName is the maximum length of an imported name, in characters. Longer names
// are truncated.
const maxImportedName = 100

// importedName turns any name that Mollymawk accepts into a valid one. It redacts anything
// that may be a token, because everyone who can list tokens sees the names.
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

// visible removes invisible characters.
func visible(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cf) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
}
