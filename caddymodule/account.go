package caddymodule

import (
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
)

// Account is a backend user on whose behalf tokens can act.
type Account struct {
	// The backend's own token for this user, which replaces the client's token. Without it,
	// requests are forwarded without an `Authorization` header. Use a placeholder, such as
	// `{env.UPSTREAM_TOKEN}` or `{file./run/secrets/alice}`, to keep the token out of the
	// configuration. A placeholder that resolves to nothing is an error.
	UpstreamToken string `json:"upstream_token,omitempty"`

	// The scopes that tokens of this account can be granted: scopes such as `unikernel:list`,
	// `unikernel:*` or `*`, or names of presets. The limit applies when a token is created,
	// edited or imported; existing tokens keep their scopes. Default: all scopes.
	MaxScopes []string `json:"max_scopes,omitempty"`

	name    string
	jsonErr error // from decoding the account's JSON
	logger  *zap.Logger
	current atomic.Pointer[upstreamCredential]
	// refusedSince is when the backend started to refuse the token, in Unix seconds, or 0.
	refusedSince atomic.Int64
}

const maxAccountName = 100 // characters

// provision resolves the upstream token.
func (a *Account) provision(name string, logger *zap.Logger) error {
	a.name, a.logger = name, logger
	if a.jsonErr != nil {
		return fmt.Errorf("%s: %w", accountLabel(name), a.jsonErr)
	}
	token, err := a.resolve()
	if err != nil {
		return fmt.Errorf("%s: upstream_token: %w", accountLabel(name), err)
	}
	a.current.Store(newUpstreamCredential(token))
	return nil
}

// resolve returns the upstream token, or "" if none is configured. Its errors never include
// any part of the configured value: even the text in a placeholder's braces or a file name may
// be the token itself.
func (a *Account) resolve() (string, error) {
	if a.UpstreamToken == "" {
		return "", nil
	}
	return resolveSecret(a.UpstreamToken)
}

// credential returns the credential to send requests with. Its fields are empty if the account
// has no upstream token.
func (a *Account) credential() *upstreamCredential { return a.current.Load() }

// presents reports whether digest is the digest of the upstream token: the current one, or a
// replacement that hasn't been loaded yet.
func (a *Account) presents(digest token.Digest) bool {
	tokens := []string{a.credential().token}
	if token, err := a.resolve(); err == nil {
		tokens = append(tokens, token)
	}
	return slices.ContainsFunc(tokens, func(tok string) bool {
		// The prefixes don't matter, because only UUIDs can be imported.
		credential, err := token.Prefixes{token.DefaultPrefix}.Parse(tok)
		return err == nil && credential.Digest == digest
	})
}

// upstreamCredential is an upstream token and its Authorization header.
type upstreamCredential struct{ token, authorization string }

func newUpstreamCredential(token string) *upstreamCredential {
	if token == "" {
		return new(upstreamCredential)
	}
	return &upstreamCredential{token, "Bearer " + token}
}

// refused records that the backend refused the token sent with a request. It resolves the
// token again, because its source may have changed.
func (a *Account) refused(sent string, now time.Time) {
	a.refusedSince.CompareAndSwap(0, now.Unix())
	a.logger.Error(
		"backend refuses the upstream token of an account; its requests fail until the token is replaced",
		zap.String("account", a.name),
		zap.Time("since", time.Unix(a.refusedSince.Load(), 0).UTC()))
	token, err := a.resolve()
	switch {
	case err != nil:
		a.logger.Error("reloading the upstream token of an account failed", zap.String("account", a.name),
			zap.Error(err))
	case token != sent:
		a.current.Store(newUpstreamCredential(token))
		a.logger.Info("loaded the changed upstream token of an account", zap.String("account", a.name))
	}
}

// accepted records that the backend responded to a request on the account's behalf.
func (a *Account) accepted() {
	if a.refusedSince.Load() == 0 {
		return
	}
	if since := a.refusedSince.Swap(0); since != 0 {
		a.logger.Info("backend accepts the upstream token of an account again",
			zap.String("account", a.name), zap.Time("refused_since", time.Unix(since, 0).UTC()))
	}
}

// accountLabel returns the account's name for errors. It hides a long or unusual name, which
// may be a misplaced token.
func accountLabel(name string) string {
	if len(name) > maxShownName || !accountName.MatchString(name) {
		return fmt.Sprintf("account (name of %d characters hidden, as it may be a token)",
			utf8.RuneCountInString(name))
	}
	return "account " + name
}

// maxShownName is the maximum length, in bytes, of names shown in errors. Upstream tokens that
// can't be guessed are longer.
const maxShownName = 16

// accountName matches names that need no quotes.
var accountName = regexp.MustCompile(`^[A-Za-z0-9._@-]+$`)

// checkAccountName returns an error if name isn't a valid account name: names are sent in a
// header and shown in lists.
func checkAccountName(name string) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > maxAccountName || !utf8.ValidString(name) {
		return fmt.Errorf("account: names must have 1 to %d characters", maxAccountName)
	}
	for _, r := range name {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return fmt.Errorf("%s: the name contains %U; use letters, digits and punctuation without white space",
				accountLabel(name), r)
		}
	}
	return nil
}
