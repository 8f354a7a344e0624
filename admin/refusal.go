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

// Refusal is an answer that isn't what was asked for.
type Refusal struct {
	Problem problem.Problem
	// Header goes with it, beside what every problem has.
	Header http.Header
	// Err is what went wrong on this side, for the log only.
	Err error
	// counted, unless it is nil, counts the refusal against the caller's token.
	counted func()
}

// refusalError is a refusal as an error: an actor's Authorize returns the one to answer
// with.
type refusalError struct{ Refusal *Refusal }

func (e *refusalError) Error() string {
	return e.Refusal.Problem.Code + ": " + e.Refusal.Problem.Detail
}

// fromGate returns a refusal of the gate's as one of the admin API's.
func fromGate(r gate.Refusal, realm string) *Refusal {
	header := make(http.Header)
	r.Headers(realm, header.Set)
	return &Refusal{Problem: r.Problem(), Header: header, Err: r.Err}
}

// RefuseExposed answers a call that came to Caddy's own admin endpoint neither
// over loopback nor over a unix socket, and without a verified client
// certificate.
func RefuseExposed() *Refusal {
	return refuseError(codeAdminExposed,
		"Caddy's admin endpoint is open to the network and asks nobody who they are, so it gives no tokens away. "+
			"Let it listen on localhost or a unix socket, or use api_tokens_admin on a site.")
}

// RefuseReconfigured answers a call whose caller was let in by a configuration that has
// been replaced since, and may not be let in by the present one.
func RefuseReconfigured() error {
	return &refusalError{
		refuseError(codeReconfigured,
			"Caddy's configuration was replaced while this request was on its way. Nothing was changed; send the request again.").
			header("Retry-After", "1")}
}

// The codes that are the admin API's own, or that have another text here than at
// the gate.
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
	codeMethod           = string(gate.MethodNotAllowed)
	codeReconfigured     = "configuration_changed"
	codeStore            = string(gate.StoreUnavailable)
	codeIdempotency      = "idempotency_mismatch"
	// codeInvalidHeader is the gate's for an Authorization that makes no sense, and
	// here also for other headers.
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
	codeMethod:           {http.StatusMethodNotAllowed, "Method not allowed"},
	codeReconfigured:     {http.StatusServiceUnavailable, "Configuration changed"},
	codeStore:            {http.StatusServiceUnavailable, "Token store unavailable"},
}

// maxDetail is how many bytes a detail has at most: some repeat what they refuse.
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
	return refuseError(codeTokenInURL, "The URL holds a token, and URLs are logged by many programs. "+
		"Use the token's id, the 12 characters after its first _, and replace the token.")
}

func refuseMethod(allow string) *Refusal {
	return refuseError(codeMethod, "This path has the methods "+allow+".").header("Allow", allow)
}

// refuseField says what is wrong with a member of the body. The rule may repeat
// what was given, so what could be a secret is taken out of it.
func refuseField(field, rule string) *Refusal {
	field = redact(shorten(field))
	return refuseError(codeInvalidField, redact(field+": "+rule)).with("field", field)
}

func refuseParameter(parameter, rule string) *Refusal {
	parameter = redact(shorten(parameter))
	return refuseError(codeInvalidParameter, parameter+": "+rule).with("parameter", parameter)
}

// secretLike is whatever may be a token or the remains of one: those of
// Mollygate's form with any prefix, any length and any checksum, and UUIDs, which
// Mollymawk's are, with all that could be a part of them: which digits of a longer
// run are the UUID can't be told.
var secretLike = regexp.MustCompile(
	`([a-z]{2}[ka]_[0-9A-Za-z]{12}_)[0-9A-Za-z]+|[0-9A-Fa-f-]*[0-9A-Fa-f]{8}(?:-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}[0-9A-Fa-f-]*`)

func redact(text string) string { return secretLike.ReplaceAllString(text, "${1}REDACTED") }

// shorten keeps the beginning of a name that a client made up.
func shorten(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}

// How long to wait, in seconds, for the store and for another backup to end.
const (
	storeRetryAfter  = "5"
	backupRetryAfter = "30"
)

// storeRefusal answers an error of the store's that came before anything was
// changed.
func (c *call) storeRefusal(err error) *Refusal {
	return c.errorRefusal(err, "The token store can't answer at the timeOrNull"+cause(err)+
		". Caddy's log says more. Try again.")
}

// changeRefusal answers an error of a change. If the store couldn't be written, the
// change may have been made all the same.
func (c *call) changeRefusal(err error) *Refusal {
	return c.errorRefusal(err, "The token store couldn't be written"+cause(err)+
		". Caddy's log says more. Look at the list of tokens before you try again.")
}

func (c *call) errorRefusal(err error, unavailable string) *Refusal {
	var (
		field   *token.FieldError
		version *token.VersionError
		ended   *refusalError
	)
	switch {
	case errors.Is(err, tokenstore.ErrUnauthorized) && errors.As(err, &ended):
		return ended.Refusal
	case errors.Is(err, tokenstore.ErrTooManyBackups):
		return refuseError(codeTooManyBackups,
			"Two backups are being taken already. Wait until one of them is done.").header("Retry-After",
			backupRetryAfter)
	case errors.As(err, &field):
		return refuseField(field.Field, field.Rule)
	case errors.As(err, &version):
		return refuseVersion(version.Version)
	case errors.Is(err, tokenstore.ErrNotFound):
		return refuseError(codeNotFound, "No token has this id. It may have been deleted.")
	case errors.Is(err, token.ErrConflict):
		return refuseError(codeConflict, sentence(strings.TrimPrefix(err.Error(), token.ErrConflict.Error()+": ")))
	case errors.Is(err, tokenstore.ErrRepeatDiffers):
		return refuseError(codeIdempotency,
			"This Idempotency-Key was used for another request in the last 24 hours. Use a new one.")
	}
	if errors.Is(err, token.ErrDamaged) {
		unavailable = "The token's record is damaged, so the token can't be used or changed. Delete it and make a new one, or restore a backup."
	}
	refusal := refuseError(codeStore, unavailable).header("Retry-After", storeRetryAfter)
	refusal.Err = err
	return refusal
}

// sentence makes one of an error's text.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// Codes returns all codes of the admin API's own, sorted.
func Codes() []string { return slices.Sorted(maps.Keys(codes)) }

// refuse answers the call with a refusal.
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
