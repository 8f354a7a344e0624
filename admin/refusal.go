package admin

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Refusal describes why a call is refused.
type Refusal struct {
	Problem problem.Problem
	// Header holds additional response headers.
	Header http.Header
	// Err is the server-side error, if any. It is logged but not sent.
	Err error
	// counted, if not nil, counts the refusal against the caller's token.
	counted func()
}

// refusalError wraps a refusal as an error, for an actor's Authorize function to return.
type refusalError struct{ Refusal *Refusal }

func (e *refusalError) Error() string {
	return e.Refusal.Problem.Code + ": " + e.Refusal.Problem.Detail
}

// fromGate converts a gate's refusal.
func fromGate(r gate.Refusal, realm string) *Refusal {
	header := make(http.Header)
	r.SetHeaders(realm, header)
	return &Refusal{Problem: r.Problem(), Header: header, Err: r.Err}
}

// RefuseExposed returns the refusal for a call that reached Caddy's admin endpoint over the
// network, rather than over loopback or a unix socket, without a verified client
// certificate.
func RefuseExposed() *Refusal {
	return refuseError(codeAdminExposed,
		"Caddy's admin endpoint is open to the network without authentication, so it can't manage tokens. "+
			"Make it listen on localhost or a unix socket, or use api_tokens_admin on a site.")
}

// RefuseReconfigured returns an error for an actor's Authorize function to return once the
// configuration that authenticated the caller has been replaced. The new configuration
// might not accept the caller.
func RefuseReconfigured() error {
	return &refusalError{
		refuseError(codeReconfigured,
			"Caddy's configuration changed while this request was being processed. "+
				"The request had no effect; send it again.").
			header("Retry-After", "1")}
}

// Codes that only the admin API uses, or that it describes differently than the gate does.
const (
	codeInvalidJSON      = "invalid_json"
	codeInvalidField     = "invalid_field"
	codeInvalidParameter = "invalid_parameter"
	codeTokenInURL       = string(gate.TokenInURL)
	codeNotFound         = "not_found"
	codeConflict         = "conflict"
	codePrecondition     = "precondition_failed"
	codeMediaType        = "unsupported_media_type"
	codeBodyTooLarge     = string(gate.BodyTooLarge)
	codeBodyTimeout      = string(gate.BodyTimeout)
	codeTooManyBackups   = "too_many_backups"
	codeCrossSite        = "cross_site"
	codeAdminExposed     = "admin_exposed"
	codeInsecure         = "insecure_connection"
	codeLinkEnded        = "sign_in_link_ended"
	codeLinkCaller       = "sign_in_link_not_allowed"
	codeMethod           = string(gate.MethodNotAllowed)
	codeReconfigured     = "configuration_changed"
	codeStore            = string(gate.StoreUnavailable)
	codeInvalidBackup    = "invalid_backup"
	codeIdempotency      = "idempotency_mismatch"
	// codeInvalidHeader is the gate's code for a malformed Authorization header. The admin
	// API also uses it for other headers.
	codeInvalidHeader = string(gate.InvalidRequest)
)

var codes = map[string]struct {
	status int
	title  string
}{
	codeInvalidJSON:      {http.StatusBadRequest, "Invalid JSON"},
	codeInvalidField:     {http.StatusBadRequest, "Invalid field"},
	codeInvalidParameter: {http.StatusBadRequest, "Invalid parameter"},
	codeTokenInURL:       {http.StatusBadRequest, "Token in the URL"},
	codeInvalidBackup:    {http.StatusBadRequest, "Invalid backup"},
	codeIdempotency:      {http.StatusUnprocessableEntity, "Idempotency key used before"},
	codeInvalidHeader:    {http.StatusBadRequest, "Invalid request"},
	codeNotFound:         {http.StatusNotFound, "Not found"},
	codeConflict:         {http.StatusConflict, "Conflict"},
	codePrecondition:     {http.StatusPreconditionFailed, "Precondition failed"},
	codeMediaType:        {http.StatusUnsupportedMediaType, "Unsupported media type"},
	codeBodyTooLarge:     {http.StatusRequestEntityTooLarge, "Body too large"},
	codeBodyTimeout:      {http.StatusRequestTimeout, "Body timeout"},
	codeTooManyBackups:   {http.StatusTooManyRequests, "Too many backups"},
	codeCrossSite:        {http.StatusForbidden, "Cross-site request"},
	codeAdminExposed:     {http.StatusForbidden, "Admin endpoint exposed"},
	codeInsecure:         {http.StatusForbidden, "Insecure connection"},
	codeLinkEnded:        {http.StatusForbidden, "Sign-in link ended"},
	codeLinkCaller:       {http.StatusForbidden, "Sign-in link not allowed"},
	codeMethod:           {http.StatusMethodNotAllowed, "Method not allowed"},
	codeReconfigured:     {http.StatusServiceUnavailable, "Configuration changed"},
	codeStore:            {http.StatusServiceUnavailable, "Token store unavailable"},
}

// maxDetail is the maximum length of a detail, in bytes. Without it, a detail that repeats
// input could be very long.
const maxDetail = 2048

func refuseError(code, detail string) *Refusal {
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "…"
	}
	return &Refusal{Problem: problem.Problem{
		Status: codes[code].status,
		Code:   code,
		Title:  codes[code].title,
		Detail: detail,
	}}
}

func (r *Refusal) with(name, value string) *Refusal {
	r.Problem = r.Problem.With(name, value)
	return r
}

func (r *Refusal) header(name, value string) *Refusal {
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.Header.Set(name, value)
	return r
}

func refuseTokenInURL() *Refusal {
	return refuseError(codeTokenInURL, "The URL contains a token, and many programs log URLs. "+
		"Use the token's ID, the 12 characters after its first _, and replace the token.")
}

func refuseMethod(allow string) *Refusal {
	return refuseError(codeMethod, "This path accepts only "+allow+".").header("Allow", allow)
}

// refuseField refuses a call because of a member in its body. The rule may quote the
// value, so anything that may be a secret is redacted.
func refuseField(field, rule string) *Refusal {
	field = redact(shorten(field))
	return refuseError(codeInvalidField, redact(field+": "+rule)).with("field", field)
}

func refuseParameter(parameter, rule string) *Refusal {
	parameter = redact(shorten(parameter))
	return refuseError(codeInvalidParameter, parameter+": "+rule).with("parameter", parameter)
}

// secretLike matches anything that may be a token or part of a token: Mollygate's format
// with any prefix, length and checksum, and Mollymawk's UUIDs. For a UUID inside a longer
// run of digits, it matches the whole run, because the UUID could start anywhere in the
// run.
var secretLike = regexp.MustCompile(
	`([a-z]{2}[ka]_[0-9A-Za-z]{12}_)[0-9A-Za-z]+|` +
		`[0-9A-Fa-f-]*[0-9A-Fa-f]{8}(?:-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}[0-9A-Fa-f-]*`)

func redact(text string) string { return secretLike.ReplaceAllString(text, "${1}REDACTED") }

// shorten truncates a name sent by a client.
func shorten(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}

// Retry-After values, in seconds.
const (
	storeRetryAfter  = "5"
	backupRetryAfter = "30"
)

// storeRefusal returns the refusal for a store error that occurred before any change.
func (c *call) storeRefusal(err error) *Refusal {
	return c.errorRefusal(err, "The token store is temporarily unavailable"+cause(err)+
		". Try again, or see Caddy's log for details.")
}

// changeRefusal returns the refusal for a change that failed. After a failed write, the
// change may still take effect.
func (c *call) changeRefusal(err error) *Refusal {
	return c.errorRefusal(err, "Writing to the token store failed"+cause(err)+
		". See Caddy's log for details, and check the list of tokens before you try again.")
}

func (c *call) errorRefusal(err error, unavailable string) *Refusal {
	var (
		field   *token.FieldError
		version *token.VersionError
		ended   *refusalError
		backup  *tokenstore.BackupError
	)
	switch {
	case errors.Is(err, tokenstore.ErrUnauthorized) && errors.As(err, &ended):
		return ended.Refusal
	case errors.Is(err, tokenstore.ErrTooManyBackups):
		return refuseError(codeTooManyBackups,
			"Two backups are already in progress. Wait until one of them finishes.").header("Retry-After",
			backupRetryAfter)
	case errors.As(err, &backup):
		return refuseError(codeInvalidBackup, "The file can't be restored: "+backup.Reason+". Nothing was changed.")
	case errors.As(err, &field):
		return refuseField(field.Field, field.Rule)
	case errors.As(err, &version):
		return refuseVersion(version.Version)
	case errors.Is(err, tokenstore.ErrNotFound):
		return refuseError(codeNotFound, "No token has this ID. It may have been deleted.")
	case errors.Is(err, token.ErrConflict):
		return refuseError(codeConflict, sentence(strings.TrimPrefix(err.Error(), token.ErrConflict.Error()+": ")))
	case errors.Is(err, tokenstore.ErrRepeatDiffers):
		return refuseError(codeIdempotency,
			"This Idempotency-Key was used for a different request in the last 24 hours. Use a new one.")
	}
	if errors.Is(err, token.ErrDamaged) {
		unavailable = "The token's record is damaged, so the token can't be used or changed. " +
			"Delete it and create a new one, or restore a backup."
	}
	refusal := refuseError(codeStore, unavailable).header("Retry-After", storeRetryAfter)
	refusal.Err = err
	return refusal
}

// sentence turns an error text into a sentence.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// Codes returns all error codes that this package defines, sorted.
func Codes() []string { return slices.Sorted(maps.Keys(codes)) }

// refuse writes a refusal as the response.
func (c *call) refuse(refusal *Refusal) {
	level := zap.DebugLevel
	if refusal.Err != nil && !errors.Is(refusal.Err, context.Canceled) { // the client went away
		level = zap.ErrorLevel
	}
	if check := c.Logger.Check(level, "admin API call refused"); check != nil {
		check.Write(zap.String("method", c.r.Method), zap.String("code", refusal.Problem.Code),
			zap.Int("status", refusal.Problem.Status),
			zap.String("actor", c.actor.Name), zap.Error(refusal.Err))
	}
	if refusal.counted != nil {
		refusal.counted()
	}
	header := c.w.Header()
	maps.Copy(header, refusal.Header)
	if c.bodyRead {
		problem.Write(c.w, refusal.Problem)
		return
	}
	problem.WriteLast(c.w, c.r, refusal.Problem)
}
