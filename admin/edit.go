package admin

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/token"
)

// editInput is the body of PATCH /tokens/{id}, a merge patch (RFC 7396).
type editInput struct {
	Name       patch[string]                 `json:"name"`
	Account    patch[string]                 `json:"account"`
	Scopes     patch[[]text]                 `json:"scopes"`
	Preset     patch[string]                 `json:"preset"`
	Resources  patch[[]text]                 `json:"resources"`
	AllowedIPs patch[[]text]                 `json:"allowed_ips"`
	RateLimit  patch[rateLimit]              `json:"rate_limit"`
	Quota      patch[quota]                  `json:"quota"`
	Metadata   patch[map[string]patch[text]] `json:"metadata"`
	NotBefore  patch[timestamp]              `json:"not_before"`
	ExpiresAt  patch[timestamp]              `json:"expires_at"`
	ExpiresIn  lifetime                      `json:"expires_in"`

	PreviousValidUntil patch[timestamp] `json:"previous_valid_until"`
}

// patch is a member of a merge patch: missing, null to remove the value, or a new value.
type patch[T any] struct {
	given, null bool
	value       T
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (p *patch[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*p = patch[T]{given: true}
	if dec.PeekKind() == 'n' {
		p.null = true
		return dec.SkipValue()
	}
	return json.UnmarshalDecode(dec, &p.value)
}

// mediaTypeMergePatch is the media type of merge patches (RFC 7396).
const mediaTypeMergePatch = "application/merge-patch+json"

func (c *call) editToken() *Refusal {
	var in editInput
	if refusal := c.decode(&in, mediaTypeMergePatch); refusal != nil {
		if refusal.Problem.Code == codeMediaType {
			refusal.header("Accept-Patch", mediaTypeMergePatch+", "+mediaTypeJSON) // RFC 5789 section 2.2
		}
		return refusal
	}
	edit, refusal := in.edit()
	if refusal != nil {
		return refusal
	}
	if refusal := refuseSecrets(c.Policy.Prefixes, in.Name.value, edit.Metadata); refusal != nil {
		return refusal
	}
	store, version, refusal := c.change()
	if refusal != nil {
		return refusal
	}
	edit.Version = version
	token, err := store.Edit(c.Policy, c.id, edit, c.actor)
	if err != nil {
		return c.changeRefusal(err)
	}
	c.logChange("token edited", token)
	return c.respondWithToken(store, token)
}

// edit returns the requested change, without applying the policy.
func (in *editInput) edit() (edit token.Edit, refusal *Refusal) {
	for _, member := range []struct {
		name string
		bad  bool
		rule string
	}{
		{"name", in.Name.null, "can't be removed"},
		{"account", in.Account.given && !in.Account.null && in.Account.value == "",
			"is empty; write null for the default account"},
		{"scopes", in.Scopes.null, "can't be removed; a token without scopes would be useless, so revoke it"},
		{"preset", in.Preset.null, "can't be removed; set other scopes instead"},
		{"preset", in.Preset.given && in.Preset.value == "", ruleEmpty},
		{"expires_at", in.ExpiresAt.null, `can't be removed; write "expires_in": "never", if that is allowed`},
	} {
		if member.bad {
			return edit, refuseField(member.name, member.rule)
		}
	}
	if in.Name.given {
		edit.Name = &in.Name.value
	}
	if in.Account.given {
		edit.Account = &in.Account.value // null selects the default account
	}
	if in.Scopes.given {
		edit.Scopes = append(token.Grants{}, plain(in.Scopes.value)...)
	}
	if in.Preset.given {
		edit.Preset = &in.Preset.value
	}
	if in.Resources.given {
		edit.Resources = new(plain(in.Resources.value))
	}
	if in.AllowedIPs.given {
		edit.AllowedIPs = new(plain(in.AllowedIPs.value))
	}
	if in.RateLimit.given {
		edit.RateLimit = func(old *token.RateLimit) *token.RateLimit {
			if in.RateLimit.null {
				return nil
			}
			return in.RateLimit.value.merge(old)
		}
	}
	if in.Quota.given {
		edit.Quota = func(old *token.Quota) *token.Quota {
			if in.Quota.null {
				return nil
			}
			return in.Quota.value.merge(old)
		}
	}
	if in.NotBefore.given {
		edit.NotBefore = &in.NotBefore.value.Time
	}
	if in.PreviousValidUntil.given {
		edit.PreviousValidUntil = &in.PreviousValidUntil.value.Time
	}
	if end := expiry(in.ExpiresIn, in.ExpiresAt.value); end != (token.Expiry{}) {
		edit.Expiry = &end
	}
	edit.ClearMetadata = in.Metadata.null
	if in.Metadata.value != nil {
		edit.Metadata = make(map[string]*string, len(in.Metadata.value))
		for key, value := range in.Metadata.value {
			edit.Metadata[key] = nil
			if !value.null {
				edit.Metadata[key] = new(string(value.value))
			}
		}
	}
	return edit, nil
}

var _ json.UnmarshalerFrom = (*patch[string])(nil)
