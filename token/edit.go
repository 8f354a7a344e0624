package token

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Edit changes some fields of a token. Nil fields leave the token's fields unchanged. The
// rules are the same as for a [Draft].
type Edit struct {
	Name    *string
	Account *string
	// Scopes and Preset are mutually exclusive.
	Scopes     Grants
	Preset     *string
	Resources  *[]string
	AllowedIPs *[]string
	// RateLimit and Quota return the new limit; nil means no limit.
	RateLimit func(old *RateLimit) *RateLimit
	Quota     func(old *Quota) *Quota
	// Metadata is merged into the token's metadata; nil values remove entries.
	Metadata map[string]*string
	// ClearMetadata removes the token's metadata before the merge.
	ClearMetadata bool
	// NotBefore replaces the token's NotBefore; the zero time removes it.
	NotBefore *time.Time
	// Expiry counts from the time of the edit.
	Expiry *Expiry
	// PreviousValidUntil replaces the token's PreviousValidUntil; the zero time ends the
	// previous secret immediately. A previous secret that has ended stays ended.
	PreviousValidUntil *time.Time
	// Version is the version that the edit is based on, or [AnyVersion].
	Version uint64
}

// Edit changes a token and describes the changes field by field, for the audit log. If the
// edit is invalid, the error is a *FieldError. If the token is revoked or expired, the error
// is [ErrConflict].
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

// edit checks only the changed fields, because a token may keep values that new tokens can no
// longer have.
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
	if err := p.editResources(token, edit); err != nil {
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

// editScopes runs after the account has changed, because the new account may allow fewer
// scopes.
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

// editResources runs after the account has changed, like editScopes.
func (p Policy) editResources(token *Token, edit Edit) (err error) {
	switch {
	case edit.Resources != nil:
		if token.Resources, err = p.resources(Draft{Kind: token.Kind, Resources: *edit.Resources}); err != nil {
			return err
		}
		return p.resourcesWithinAccount(token, "resources")
	case edit.Account != nil:
		return p.resourcesWithinAccount(token, "account")
	}
	return nil
}

func (p Policy) editLimits(token *Token, edit Edit) (err error) {
	if edit.RateLimit != nil {
		if token.RateLimit, err = p.rateLimit(token.Kind, edit.RateLimit(nilIfZero(token.RateLimit))); err != nil {
			return err
		}
	}
	if edit.Quota != nil {
		token.Quota, err = p.quota(token.Kind, edit.Quota(nilIfZero(token.Quota)))
	}
	return err
}

// nilIfZero returns a pointer to a copy of value, or nil if it is the zero value.
func nilIfZero[T comparable](value T) *T {
	if value == *new(T) {
		return nil
	}
	return &value
}

func (p Policy) editValidity(token *Token, edit Edit, now time.Time) (err error) {
	if edit.NotBefore == nil && edit.Expiry == nil && edit.PreviousValidUntil == nil {
		return nil
	}
	if edit.Expiry != nil {
		made := token.SecretMadeAt
		if token.ExpiresAt, err = p.expiry(*edit.Expiry, made, now.UTC().Truncate(time.Second), now); err != nil {
			return err
		}
		// Otherwise, a later edit could revive a previous secret that had expired with the
		// token.
		if end := token.ExpiresAt; !end.IsZero() && token.PreviousValidUntil.After(end) {
			token.PreviousValidUntil = end
		}
	}
	if edit.PreviousValidUntil != nil {
		if err := token.editPrevious(wholeSecond(*edit.PreviousValidUntil), now); err != nil {
			return err
		}
	}
	notBefore := token.NotBefore
	if edit.NotBefore != nil {
		notBefore = *edit.NotBefore
	}
	token.NotBefore, err = checkNotBefore(notBefore, token.ExpiresAt)
	return err
}

// editPrevious changes when the previous secret stops working. The zero time stops it now.
func (t *Token) editPrevious(until, now time.Time) error {
	const field = "previous_valid_until"
	switch rotating := !t.PreviousDigest.IsZero() && t.PreviousValidUntil.After(now); {
	case until.IsZero():
		if rotating {
			t.PreviousDigest, t.PreviousValidUntil = Digest{}, time.Time{}
		}
	case !rotating:
		return fieldErrorf(field, "can't be set, because there is no old secret that still works")
	case !until.After(now):
		return fieldErrorf(field, "is in the past; write null to stop the old secret now")
	case !t.ExpiresAt.IsZero() && until.After(t.ExpiresAt):
		return fieldErrorf(field, "is after the token's expiry at %s", formatTime(t.ExpiresAt))
	default:
		t.PreviousValidUntil = until
	}
	return nil
}

// metadata returns the edited metadata. It returns a new map unless the edit leaves the
// metadata unchanged.
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

// differences describes an edit's changes field by field, for the audit log.
func differences(old, token *Token) map[string]string {
	changes := make(map[string]string)
	addChange(changes, "name", old.Name, token.Name)
	addChange(changes, "account", old.Account, token.Account)
	addChange(changes, "scopes", strings.Join(old.Scopes, " "), strings.Join(token.Scopes, " "))
	addChange(changes, "resources", strings.Join(old.Resources, " "), strings.Join(token.Resources, " "))
	addChange(changes, "allowed_ips", joinPrefixes(old.AllowedIPs), joinPrefixes(token.AllowedIPs))
	addChange(changes, "rate_limit", old.RateLimit.String(), token.RateLimit.String())
	addChange(changes, "quota", old.Quota.String(), token.Quota.String())
	addTimeChange(changes, "not_before", old.NotBefore, token.NotBefore)
	addTimeChange(changes, "expires_at", old.ExpiresAt, token.ExpiresAt)
	addTimeChange(changes, "previous_valid_until", old.PreviousValidUntil, token.PreviousValidUntil)
	// Only the keys are listed, because values may be long or confidential.
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

// maxAuditValue is the maximum length of a value in the audit log, in bytes.
const maxAuditValue = 200

func addChange(changes map[string]string, field, before, after string) {
	if before != after {
		changes[field] = auditValue(before) + " -> " + auditValue(after)
	}
}

func addTimeChange(changes map[string]string, field string, before, after time.Time) {
	if !before.Equal(after) {
		changes[field] = AuditTime(before) + " -> " + AuditTime(after)
	}
}

func auditValue(value string) string {
	switch {
	case value == "":
		return "none"
	case len(value) > maxAuditValue:
		return strings.ToValidUTF8(value[:maxAuditValue], "") + "…"
	}
	return value
}

// AuditTime formats a time for the audit log.
func AuditTime(t time.Time) string {
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
