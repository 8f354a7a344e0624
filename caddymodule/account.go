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

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

// Account is a backend user on whose behalf tokens can act.
type Account struct {
	// The backend's own token for this user. It replaces the client's token. If it isn't set,
	// requests are forwarded without an `Authorization` header. Use a placeholder, such as
	// `{env.UPSTREAM_TOKEN}` or `{file./run/secrets/alice}`, to keep the token out of the
	// configuration. A placeholder without a value is an error.
	UpstreamToken string `json:"upstream_token,omitempty"`

	// The scopes that can be granted to this account's tokens. List scopes, such as
	// `unikernel:list`, `unikernel:*` or `*`, or preset names. The limit applies when a token
	// is created, edited or imported; existing tokens keep their scopes. Default: all scopes.
	MaxScopes []string `json:"max_scopes,omitempty"`

	// The resources within which this account's tokens must be bound, such as `instance/default`
	// or `unikernel/web-*`. The limit applies when a token is created, edited or imported;
	// existing tokens keep their resources. Default: tokens need not be bound.
	MaxResources []string `json:"max_resources,omitempty"`

	name    string
	jsonErr error // from decoding the account's JSON
	logger  *zap.Logger
	current atomic.Pointer[upstreamCredential]
	// refusedSince is the Unix time at which the backend started refusing the token, in
	// seconds. It is 0 while the backend accepts the token.
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
	a.setToken(token)
	return nil
}

// resolve returns the upstream token, or "" if none is configured. Its errors never include
// any part of the configured value, because even a file name or the text between a
// placeholder's braces may be the token itself.
func (a *Account) resolve() (string, error) {
	if a.UpstreamToken == "" {
		return "", nil
	}
	return resolveSecret(a.UpstreamToken)
}

// credential returns the credential for requests to the backend. Its fields are empty if the
// account has no upstream token.
func (a *Account) credential() *upstreamCredential { return a.current.Load() }

// presents reports whether digest is the digest of the current upstream token, or of a
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

// upstreamCredential holds an upstream token and the Authorization header that contains it.
type upstreamCredential struct {
	gate.UpstreamToken
	account              *Account
	token, authorization string
}

// setToken sets the account's upstream token.
func (a *Account) setToken(token string) {
	credential := &upstreamCredential{UpstreamToken: gate.NewUpstreamToken(token), account: a, token: token}
	if token != "" {
		credential.authorization = "Bearer " + token
	}
	a.current.Store(credential)
}

// refused records that the backend refused the account's upstream token. It resolves the token
// again, because the environment variable or file that contains it may have changed.
func (a *Account) refused(sent string, now time.Time) {
	a.refusedSince.CompareAndSwap(0, now.Unix())
	a.logger.Error(
		"backend refuses an account's upstream token; the account's requests fail until you replace the token",
		zap.String("account", a.name),
		zap.Time("since", time.Unix(a.refusedSince.Load(), 0).UTC()))
	token, err := a.resolve()
	switch {
	case err != nil:
		a.logger.Error("reloading an account's upstream token failed", zap.String("account", a.name),
			zap.Error(err))
	case token != sent:
		a.setToken(token)
		a.logger.Info("loaded an account's changed upstream token", zap.String("account", a.name))
	}
}

// accepted records that the backend responded to a request on the account's behalf.
func (a *Account) accepted() {
	if a.refusedSince.Load() == 0 {
		return
	}
	if since := a.refusedSince.Swap(0); since != 0 {
		a.logger.Info("backend accepts an account's upstream token again",
			zap.String("account", a.name), zap.Time("refused_since", time.Unix(since, 0).UTC()))
	}
}

// accountLabel returns the account's name for errors. It hides long or unusual names, because
// they may be misplaced tokens.
func accountLabel(name string) string {
	if len(name) > maxShownName || !accountName.MatchString(name) {
		return fmt.Sprintf("account (name of %d characters hidden, as it may be a token)",
			utf8.RuneCountInString(name))
	}
	return "account " + name
}

// maxShownName is the maximum length, in bytes, of names shown in errors. Any upstream token
// that is hard to guess is longer than this.
const maxShownName = 16

// accountName matches names that don't need quotes.
var accountName = regexp.MustCompile(`^[A-Za-z0-9._@-]+$`)

// checkAccountName returns an error if name isn't a valid account name. Names must be safe to
// send in a header and to show in lists.
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
