package token

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Edit changes some of a token's fields. What is nil stays as it is; the rules are
// those of a [Draft].
type Edit struct {
	Name    *string
	Account *string
	// Scopes and Preset exclude each other.
	Scopes     Grants
	Preset     *string
	AllowedIPs *[]string
	// RateLimit and Quota return what the token's becomes; nil is none.
	RateLimit func(old *RateLimit) *RateLimit
	Quota     func(old *Quota) *Quota
	// Metadata is merged into the token's; an entry that is nil is removed.
	Metadata map[string]*string
	// ClearMetadata removes the token's before the merge.
	ClearMetadata bool
	// NotBefore, if zero, removes the token's.
	NotBefore *time.Time
	// Expiry counts from now.
	Expiry *Expiry
	// Version is the one the edit is meant for, or [AnyVersion].
	Version uint64
}

// Edit changes a token and returns what that changed, field by field, in words for the
// audit. An error about the edit is a *FieldError; a revoked or expired token is
// [ErrConflict].
func (p Policy) Edit(token *Token, edit Edit, now time.Time) (changes map[string]string, err error) {
	if err := token.Ended(now); err != nil {
		return nil, err
	}
	old := *token
	if err := p.edit(token, edit, now); err != nil {
		return nil, p.redacted(err)
	}
	return differences(&old, token), nil
}

// edit checks only what is changed: what a token has may stay, also if it can no
// longer be given.
func (p Policy) edit(token *Token, edit Edit, now time.Time) (err error) {
	if edit.Name != nil {
		if token.Name, err = checkName(*edit.Name); err != nil {
			return err
		}
	}
	if edit.Account != nil {
		if token.Account, err = p.account(Draft{Kind: token.Kind, Account: *edit.Account}); err != nil {
			return err
		}
	}
	if err := p.editScopes(token, edit); err != nil {
		return err
	}
	if edit.AllowedIPs != nil {
		if token.AllowedIPs, err = parseAllowedIPs(*edit.AllowedIPs); err != nil {
			return err
		}
	}
	if err := p.editLimits(token, edit); err != nil {
		return err
	}
	if token.Metadata, err = checkMetadata(edit.metadata(token.Metadata)); err != nil {
		return err
	}
	return p.editValidity(token, edit, now)
}

// editScopes is called with the account already changed, which may give less.
func (p Policy) editScopes(token *Token, edit Edit) (err error) {
	if edit.Scopes == nil && edit.Preset == nil {
		if edit.Account != nil {
			return p.withinAccount(token, "account")
		}
		return nil
	}
	draft := Draft{Kind: token.Kind, Scopes: edit.Scopes}
	if edit.Preset != nil {
		draft.Preset = *edit.Preset
	}
	if token.Scopes, err = p.grants(draft); err != nil {
		return err
	}
	return p.withinAccount(token, draft.scopesField())
}

func (p Policy) editLimits(token *Token, edit Edit) (err error) {
	if edit.RateLimit != nil {
		if token.RateLimit, err = p.rateLimit(token.Kind, edit.RateLimit(given(token.RateLimit))); err != nil {
			return err
		}
	}
	if edit.Quota != nil {
		token.Quota, err = p.quota(token.Kind, edit.Quota(given(token.Quota)))
	}
	return err
}

// given returns a pointer to a copy of what isn't zero, or nil.
func given[T comparable](value T) *T {
	if value == *new(T) {
		return nil
	}
	return &value
}

func (p Policy) editValidity(token *Token, edit Edit, now time.Time) (err error) {
	if edit.NotBefore == nil && edit.Expiry == nil {
		return nil
	}
	if edit.Expiry != nil {
		made := token.SecretMadeAt
		if token.ExpiresAt, err = p.expiry(*edit.Expiry, made, now.UTC().Truncate(time.Second), now); err != nil {
			return err
		}
		// What ends with the token isn't brought back by a later edit.
		if end := token.ExpiresAt; !end.IsZero() && token.PreviousValidUntil.After(end) {
			token.PreviousValidUntil = end
		}
	}
	notBefore := token.NotBefore
	if edit.NotBefore != nil {
		notBefore = *edit.NotBefore
	}
	token.NotBefore, err = checkNotBefore(notBefore, token.ExpiresAt)
	return err
}

// metadata returns what becomes of a token's metadata, in a map of its own.
func (e Edit) metadata(old map[string]string) map[string]string {
	if e.Metadata == nil && !e.ClearMetadata {
		return old
	}
	merged := make(map[string]string, len(old)+len(e.Metadata))
	if !e.ClearMetadata {
		maps.Copy(merged, old)
	}
	for key, value := range e.Metadata {
		if value == nil {
			delete(merged, key)
		} else {
			merged[key] = *value
		}
	}
	return merged
}

// differences says for the audit what an edit changed, field by field.
func differences(old, token *Token) map[string]string {
	changes := make(map[string]string)
	noteText(changes, "name", old.Name, token.Name)
	noteText(changes, "account", old.Account, token.Account)
	noteText(changes, "scopes", strings.Join(old.Scopes, " "), strings.Join(token.Scopes, " "))
	noteText(changes, "allowed_ips", joinPrefixes(old.AllowedIPs), joinPrefixes(token.AllowedIPs))
	noteText(changes, "rate_limit", old.RateLimit.String(), token.RateLimit.String())
	noteText(changes, "quota", old.Quota.String(), token.Quota.String())
	noteTime(changes, "not_before", old.NotBefore, token.NotBefore)
	noteTime(changes, "expires_at", old.ExpiresAt, token.ExpiresAt)
	noteTime(changes, "previous_valid_until", old.PreviousValidUntil, token.PreviousValidUntil)
	// Values may be long, and may be what nobody should read later.
	var keys []string
	for key := range token.Metadata {
		if value, had := old.Metadata[key]; !had || value != token.Metadata[key] {
			keys = append(keys, key)
		}
	}
	for key := range old.Metadata {
		if _, has := token.Metadata[key]; !has {
			keys = append(keys, key)
		}
	}
	if slices.Sort(keys); len(keys) > 0 {
		changes["metadata"] = strings.Join(keys, ", ")
	}
	return changes
}

// maxNoted is how many bytes of a value the audit keeps.
const maxNoted = 200

func noteText(changes map[string]string, field, before, after string) {
	if before != after {
		changes[field] = noted(before) + " -> " + noted(after)
	}
}

func noteTime(changes map[string]string, field string, before, after time.Time) {
	if !before.Equal(after) {
		changes[field] = NotedTime(before) + " -> " + NotedTime(after)
	}
}

func noted(value string) string {
	switch {
	case value == "":
		return "none"
	case len(value) > maxNoted:
		return strings.ToValidUTF8(value[:maxNoted], "") + "…"
	}
	return value
}

// NotedTime returns a time as the audit notes it.
func NotedTime(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return formatTime(t)
}

func joinPrefixes(prefixes []netip.Prefix) string {
	texts := make([]string, 0, len(prefixes))
	for _, prefix := range prefixes {
		texts = append(texts, prefix.String())
	}
	return strings.Join(texts, " ")
}
