package token

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Draft is a request for a new token. API tokens need exactly one of Scopes and Preset; admin
// tokens have neither.
type Draft struct {
	Kind       Kind
	Name       string
	Account    string
	Scopes     Grants
	Preset     string
	Resources  []string
	AllowedIPs []string
	// RateLimit and Quota are nil for no limit.
	RateLimit *RateLimit
	Quota     *Quota
	Metadata  map[string]string
	NotBefore time.Time

	Expiry
}

// Expiry specifies when a token expires. Exactly one field is set.
type Expiry struct {
	ExpiresIn Lifetime
	ExpiresAt time.Time
	// NeverExpires requests a token that never expires.
	NeverExpires bool
}

// Policy defines which tokens the configuration allows.
type Policy struct {
	Prefixes Prefixes
	// MaxLifetime is the maximum time between the creation of a secret and its expiry.
	MaxLifetime Lifetime
	// Accounts are the configured account names.
	Accounts []string
	// MaxScopes limits the scopes of each account's tokens. An account that isn't listed has
	// no limit.
	MaxScopes map[string]Grants
	// MaxResources limits the resources of each account's tokens. An account that isn't listed
	// has no limit.
	MaxResources map[string]Resources
	Catalog      Catalog
}

// New checks the draft against the policy and returns the requested token, without an ID or a
// secret. The error is a *FieldError.
func (p Policy) New(d Draft, now time.Time) (Token, error) {
	token, err := p.checked(d, now)
	return token, p.redacted(err)
}

// redacted removes secrets from an error, because a value in the wrong field may be a token.
func (p Policy) redacted(err error) error {
	if fieldErr, ok := errors.AsType[*FieldError](err); ok {
		return &FieldError{Field: fieldErr.Field, Rule: p.Prefixes.Redact(fieldErr.Rule)}
	}
	return err
}

func (p Policy) checked(d Draft, now time.Time) (Token, error) {
	if d.Kind != KindAPI && d.Kind != KindAdmin {
		return Token{}, fieldErrorf("kind", `must be "api" or "admin"`)
	}
	token := Token{
		Terms:     Terms{Kind: d.Kind},
		Format:    FormatNative,
		Prefix:    p.Prefixes[0],
		CreatedAt: now.UTC().Truncate(time.Microsecond),
		Version:   1,
	}
	// All displayed times are whole seconds, so displaying them loses no precision. Rounding
	// down ensures that a token never lives longer than requested.
	made := token.CreatedAt.Truncate(time.Second)
	token.UpdatedAt, token.SecretMadeAt = made, made

	var err error
	if token.Name, err = checkName(d.Name); err != nil {
		return Token{}, err
	}
	if token.Account, err = p.account(d); err != nil {
		return Token{}, err
	}
	if token.Scopes, err = p.grants(d); err != nil {
		return Token{}, err
	}
	if err := p.withinAccount(&token, d.scopesField()); err != nil {
		return Token{}, err
	}
	if token.Resources, err = p.resources(d); err != nil {
		return Token{}, err
	}
	if err := p.resourcesWithinAccount(&token, "resources"); err != nil {
		return Token{}, err
	}
	if token.AllowedIPs, err = parseAllowedIPs(d.AllowedIPs); err != nil {
		return Token{}, err
	}
	if token.RateLimit, err = p.rateLimit(d.Kind, d.RateLimit); err != nil {
		return Token{}, err
	}
	if token.Quota, err = p.quota(d.Kind, d.Quota); err != nil {
		return Token{}, err
	}
	if token.Metadata, err = checkMetadata(d.Metadata); err != nil {
		return Token{}, err
	}
	if token.ExpiresAt, err = p.expiry(d.Expiry, made, made, now); err != nil {
		return Token{}, err
	}
	if token.NotBefore, err = checkNotBefore(d.NotBefore, token.ExpiresAt); err != nil {
		return Token{}, err
	}
	return token, nil
}

func (p Policy) account(d Draft) (string, error) {
	if d.Kind == KindAdmin {
		if d.Account != "" {
			return "", fieldErrorf("account", "an admin token never calls the backend, so it has no account")
		}
		return "", nil
	}
	account := d.Account
	if account == "" {
		account = "default"
	}
	if !slices.Contains(p.Accounts, account) {
		if len(p.Accounts) == 0 {
			return "",
				fieldErrorf("account",
					"%s is not configured, nor is any other account: "+
						"add an account block to api_tokens in the Caddyfile",
					quote(account))
		}
		return "", fieldErrorf("account", "%s is not configured; the configured accounts are %s", quote(account),
			strings.Join(p.Accounts, ", "))
	}
	return account, nil
}

func (p Policy) grants(d Draft) (Grants, error) {
	if d.Kind == KindAdmin {
		if d.Preset != "" {
			return nil, fieldErrorf("preset", "an admin token never calls the backend, so it has no scopes")
		}
		if len(d.Scopes) != 0 {
			return nil, fieldErrorf("scopes", "an admin token never calls the backend, so it has no scopes")
		}
		return nil, nil
	}
	if d.Preset != "" {
		if d.Scopes != nil {
			return nil, fieldErrorf("preset", "give either preset or scopes, not both")
		}
		grants, ok := p.Catalog.Presets[d.Preset]
		if !ok {
			return nil, fieldErrorf("preset", "%s is not a known preset; the presets are %s", quote(d.Preset),
				strings.Join(p.Catalog.presetNames(), ", "))
		}
		return p.checkGrants("preset", grants)
	}
	switch n := len(d.Scopes); {
	case n == 0:
		return nil, fieldErrorf("scopes", "give at least one scope, or a preset (%s)",
			strings.Join(p.Catalog.presetNames(), ", "))
	case n > maxScopes:
		return nil, fieldErrorf("scopes", "%d given; at most %d are allowed", n, maxScopes)
	}
	return p.checkGrants("scopes", d.Scopes)
}

// scopesField returns the name of the field that determines the scopes.
func (d Draft) scopesField() string {
	if d.Preset != "" {
		return "preset"
	}
	return "scopes"
}

// withinAccount checks the token's scopes against its account's maximum.
func (p Policy) withinAccount(token *Token, field string) error {
	maximum, limited := p.MaxScopes[token.Account]
	if !limited {
		return nil
	}
	if grant, exceeds := p.Catalog.exceeding(token.Scopes, maximum); exceeds {
		return fieldErrorf(field, "%s exceeds the maximum of account %s, which is %s", quote(grant), token.Account,
			strings.Join(maximum, ", "))
	}
	return nil
}

func (p Policy) resources(d Draft) (Resources, error) {
	if d.Kind == KindAdmin && len(d.Resources) > 0 {
		return nil, fieldErrorf("resources", "an admin token never calls the backend, so it has no resources")
	}
	resources, err := p.Catalog.CheckResources(d.Resources)
	if err != nil {
		return nil, fieldErrorf("resources", "%v", err)
	}
	return resources, nil
}

// resourcesWithinAccount checks the token's resources against its account's maximum.
func (p Policy) resourcesWithinAccount(token *Token, field string) error {
	maximum, limited := p.MaxResources[token.Account]
	if !limited || p.Catalog.resourcesWithin(token.Resources, maximum) {
		return nil
	}
	return fieldErrorf(field, "the tokens of account %s must be bound to resources within %s", token.Account,
		strings.Join(maximum, ", "))
}

func (p Policy) rateLimit(kind Kind, limit *RateLimit) (RateLimit, error) {
	if kind == KindAdmin && limit != nil {
		return RateLimit{}, fieldErrorf("rate_limit", "an admin token never calls the backend, so it has no limits")
	}
	return checkRateLimit(limit)
}

func (p Policy) quota(kind Kind, quota *Quota) (Quota, error) {
	if kind == KindAdmin && quota != nil {
		return Quota{}, fieldErrorf("quota", "an admin token never calls the backend, so it has no limits")
	}
	return checkQuota(quota)
}

func (p Policy) checkGrants(field string, grants Grants) (Grants, error) {
	grants, err := p.Catalog.check(grants)
	if err != nil {
		return nil, fieldErrorf(field, "%v", err)
	}
	return grants, nil
}

// expiry returns the expiry of a token whose secret was created at made and whose lifetime
// counts from start. The zero time means that the token never expires.
func (p Policy) expiry(d Expiry, made, start, now time.Time) (time.Time, error) {
	given := 0
	for _, set := range []bool{!d.ExpiresIn.Unlimited(), !d.ExpiresAt.IsZero(), d.NeverExpires} {
		if set {
			given++
		}
	}
	switch {
	case given == 0:
		return time.Time{}, fieldErrorf("expires_in", `is required, for example "90d"; or give expires_at%s`,
			p.neverHint())
	case given > 1:
		return time.Time{}, fieldErrorf("expires_at", "give either expires_in or expires_at, not both")
	case d.NeverExpires:
		if !p.MaxLifetime.Unlimited() {
			return time.Time{},
				fieldErrorf("expires_in", `"never" requires max_lifetime unlimited; it is %s`,
					p.MaxLifetime)
		}
		return time.Time{}, nil
	}

	field, end := "expires_at", d.ExpiresAt.UTC().Truncate(time.Second)
	if !d.ExpiresIn.Unlimited() {
		var err error
		field = "expires_in"
		if end, err = d.ExpiresIn.From(start); err != nil {
			return time.Time{}, fieldErrorf(field, "%v", err)
		}
	}
	switch {
	case !now.Before(end):
		return time.Time{}, fieldErrorf(field, "the token would already have expired, at %s", formatTime(end))
	case end.Year() > maxYear:
		return time.Time{}, fieldErrorf(field, "%v", errAfterMaxYear)
	case p.MaxLifetime.Unlimited():
		return end, nil
	}
	latest, err := p.MaxLifetime.From(made)
	if err == nil && end.After(latest) { // an error means that the limit is after maxYear
		return time.Time{}, fieldErrorf(field, "would be %s, later than max_lifetime %s allows (%s)",
			formatTime(end), p.MaxLifetime, formatTime(latest))
	}
	return end, nil
}

func (p Policy) neverHint() string {
	if p.MaxLifetime.Unlimited() {
		return `, or "never"`
	}
	return ""
}

func checkNotBefore(notBefore, expiresAt time.Time) (time.Time, error) {
	if notBefore.IsZero() {
		return time.Time{}, nil
	}
	notBefore = notBefore.UTC().Truncate(time.Second)
	switch {
	case notBefore.Year() > maxYear:
		return time.Time{}, fieldErrorf("not_before", "%v", errAfterMaxYear)
	case notBefore.Year() < minYear:
		return time.Time{}, fieldErrorf("not_before", "is before the year %d; leave it out instead", minYear)
	case !expiresAt.IsZero() && !notBefore.Before(expiresAt):
		return time.Time{}, fieldErrorf("not_before", "is not before the token's expiry at %s", formatTime(expiresAt))
	}
	return notBefore, nil
}

func formatTime(t time.Time) string { return t.Format(time.RFC3339) }

// quote quotes user input for a message. It never truncates the input, because
// [Prefixes.Redact] couldn't find a truncated token.
func quote(s string) string {
	const maxLength = 200
	if len(s) > maxLength {
		return "the value (" + strconv.Itoa(len(s)) + " bytes)"
	}
	return strconv.Quote(s)
}
