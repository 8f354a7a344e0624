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

// Account is a user of the backend on whose behalf tokens can act.
type Account struct {
	// The backend's own token of this user. It is sent in place of the client's;
	// without it, requests are sent on with no `Authorization`. Use a placeholder,
	// such as `{env.UPSTREAM_TOKEN}` or `{file./run/secrets/alice}`, so that the
	// token isn't in the configuration: one that resolves to nothing is an error.
	UpstreamToken string `json:"upstream_token,omitempty"`

	// What tokens of this account can be granted at most: scopes such as
	// `unikernel:list`, `unikernel:*` or `*`, or names of presets. It is looked at when
	// a token is made, edited or imported; those there are keep what they have.
	// Default: everything.
	MaxScopes []string `json:"max_scopes,omitempty"`

	name    string
	mistake error // in the account's JSON
	logger  *zap.Logger
	current atomic.Pointer[upstreamCredential]
	// refusedSince is when the backend began to refuse the token, in Unix
	// seconds, or 0.
	refusedSince atomic.Int64
}

const maxAccountName = 100 // characters

// provision resolves the upstream token.
func (a *Account) provision(name string, logger *zap.Logger) error {
	a.name, a.logger = name, logger
	if a.mistake != nil {
		return fmt.Errorf("%s: %w", accountLabel(name), a.mistake)
	}
	token, err := a.resolve()
	if err != nil {
		return fmt.Errorf("%s: upstream_token: %w", accountLabel(name), err)
	}
	a.current.Store(newUpstreamCredential(token))
	return nil
}

// resolve returns the upstream token, or "" if none is configured. Its errors never hold
// anything of what is configured: that may be the token itself, also within the braces of
// a placeholder or as the name of a file.
func (a *Account) resolve() (string, error) {
	if a.UpstreamToken == "" {
		return "", nil
	}
	return resolveSecret(a.UpstreamToken)
}

// credential returns what requests are sent with; its fields are empty if the account
// has no upstream token.
func (a *Account) credential() *upstreamCredential { return a.current.Load() }

// presents reports whether a digest is of the upstream token: of the one in use, or of
// the one that was put in its place and hasn't been needed yet.
func (a *Account) presents(digest token.Digest) bool {
	tokens := []string{a.credential().token}
	if token, err := a.resolve(); err == nil {
		tokens = append(tokens, token)
	}
	return slices.ContainsFunc(tokens, func(tok string) bool {
		// The prefixes don't matter: only a UUID can be imported.
		credential, err := token.Prefixes{token.DefaultPrefix}.Parse(tok)
		return err == nil && credential.Digest == digest
	})
}

// upstreamCredential is an upstream token, and the Authorization that presents it.
type upstreamCredential struct{ token, authorization string }

func newUpstreamCredential(token string) *upstreamCredential {
	if token == "" {
		return new(upstreamCredential)
	}
	return &upstreamCredential{token, "Bearer " + token}
}

// refused notes that the backend refused the token that a request was sent with.
// The secret may have been changed where it is kept, so it is read again.
func (a *Account) refused(sent string, now time.Time) {
	a.refusedSince.CompareAndSwap(0, now.Unix())
	a.logger.Error(
		"the backend refuses the upstream token of an account; requests on its behalf fail until it is replaced",
		zap.String("account", a.name),
		zap.Time("since", time.Unix(a.refusedSince.Load(), 0).UTC()))
	token, err := a.resolve()
	switch {
	case err != nil:
		a.logger.Error("reading the upstream token of an account again failed", zap.String("account", a.name),
			zap.Error(err))
	case token != sent:
		a.current.Store(newUpstreamCredential(token))
		a.logger.Info("read a changed upstream token of an account", zap.String("account", a.name))
	}
}

// accepted notes that the backend answered a request on the account's behalf.
func (a *Account) accepted() {
	if a.refusedSince.Load() == 0 {
		return
	}
	if since := a.refusedSince.Swap(0); since != 0 {
		a.logger.Info("the backend accepts the upstream token of an account again",
			zap.String("account", a.name), zap.Time("refused_since", time.Unix(since, 0).UTC()))
	}
}

// accountLabel returns an account as errors name it. Its name may be the token, put
// into the wrong place.
func accountLabel(name string) string {
	if len(name) > maxShownName || !accountName.MatchString(name) {
		return fmt.Sprintf("account (a name of %d characters, not shown: it may be a token)",
			utf8.RuneCountInString(name))
	}
	return "account " + name
}

// maxShownName is the length in bytes of names that errors show. Upstream tokens that
// can't be guessed are longer.
const maxShownName = 16

// accountName is a name that needs no quotes.
var accountName = regexp.MustCompile(`^[A-Za-z0-9._@-]+$`)

// checkAccountName says what is wrong with the name of an account: it is sent in
// a header and shown in lists.
func checkAccountName(name string) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > maxAccountName || !utf8.ValidString(name) {
		return fmt.Errorf("account: a name has 1 to %d characters", maxAccountName)
	}
	for _, r := range name {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return fmt.Errorf("%s: the name holds %U; use letters, digits and signs without white space",
				accountLabel(name), r)
		}
	}
	return nil
}
