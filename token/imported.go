package token

import "time"

// Check returns a *FieldError if the policy doesn't allow a token like the draft at the time
// given by now. Check ignores the draft's name and expiry.
func (p Policy) Check(draft Draft, now time.Time) error {
	draft.Name, draft.Expiry = "any", Expiry{ExpiresIn: Lifetime{seconds: 1}}
	_, err := p.New(draft, now)
	return err
}

// Import returns a token that replaces a Mollymawk token and keeps its secret, which clients
// already have. The returned token has no ID. Its lifetime counts from now. If the draft's
// expiry is later than max_lifetime allows, Import reduces the expiry to the maximum and
// returns true for capped. If the draft or the text (field "value") is invalid, the error is a
// *FieldError.
func (p Policy) Import(draft Draft, text string, now time.Time) (token Token, capped bool, err error) {
	credential, err := p.Prefixes.Parse(text)
	if err != nil || credential.Format != FormatImported {
		return Token{}, false,
			fieldErrorf("value", "is not a Mollymawk token, which is a version 4 UUID in lower case")
	}
	draft.Expiry, capped = p.cap(draft.Expiry, now)
	if token, err = p.New(draft, now); err != nil {
		return Token{}, false, err
	}
	token.Format, token.Prefix, token.Digest = FormatImported, "", credential.Digest
	return token, capped, nil
}

// cap reduces an expiry to the latest time that max_lifetime allows, counted from now.
func (p Policy) cap(wanted Expiry, now time.Time) (expiry Expiry, capped bool) {
	if p.MaxLifetime.Unlimited() {
		return wanted, false
	}
	made := now.UTC().Truncate(time.Second)
	latest, err := p.MaxLifetime.From(made)
	if err != nil { // after maxYear
		return wanted, false
	}
	end := wanted.ExpiresAt
	if !wanted.ExpiresIn.Unlimited() {
		if end, err = wanted.ExpiresIn.From(made); err != nil {
			return Expiry{ExpiresAt: latest}, true
		}
	}
	if wanted.NeverExpires || end.After(latest) {
		return Expiry{ExpiresAt: latest}, true
	}
	return wanted, false
}
