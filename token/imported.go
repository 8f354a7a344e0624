package token

import "time"

// Check returns a *FieldError if no token could be made of the draft at now, whatever its
// name and its end are.
func (p Policy) Check(draft Draft, now time.Time) error {
	draft.Name, draft.Expiry = "any", Expiry{ExpiresIn: Lifetime{seconds: 1}}
	_, err := p.New(draft, now)
	return err
}

// Import returns the token that takes over what Mollymawk made, without an id, with the
// secret that its clients have. Its lifetime counts from now; an end that is later than
// max_lifetime allows is moved to what it allows, and capped is true. An error about the
// draft, or about the text ("value"), is a *FieldError.
func (p Policy) Import(draft Draft, text string, now time.Time) (token Token, capped bool, err error) {
	credential, err := p.Prefixes.Parse(text)
	if err != nil || credential.Format != FormatImported {
		return Token{}, false,
			fieldErrorf("value", "is none of Mollymawk's tokens, which are UUIDs of version 4 in lower case")
	}
	draft.Expiry, capped = p.cap(draft.Expiry, now)
	if token, err = p.New(draft, now); err != nil {
		return Token{}, false, err
	}
	token.Format, token.Prefix, token.Digest = FormatImported, "", credential.Digest
	return token, capped, nil
}

// cap moves the end of an expiry to the latest that max_lifetime allows from now.
func (p Policy) cap(wanted Expiry, now time.Time) (expiry Expiry, capped bool) {
	if p.MaxLifetime.Unlimited() {
		return wanted, false
	}
	made := now.UTC().Truncate(time.Second)
	latest, err := p.MaxLifetime.From(made)
	if err != nil { // later than all that can be written
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
