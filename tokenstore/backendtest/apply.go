package backendtest

import (
	"errors"
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// testToken verifies that a stored token is read back unchanged by this process and the next,
// even if this process is killed.
func testToken(s *suite) {
	want := []*token.Token{newToken(1), wholeToken(2)}
	s.put(want...)
	verify := func(when string, s *suite) {
		s.Helper()
		for _, token := range want {
			got, err := s.Token(token.ID)
			s.check(err)
			s.equal(when, got, token)
		}
		if got, err := s.Token(idOf(9)); got != nil || !errors.Is(err, tokenstore.ErrNotFound) {
			s.Errorf("%s: Token of an unknown ID: got %v, %v, want ErrNotFound", when, got, err)
		}
	}
	verify("stored", s)
	if killed := s.killed(); killed != nil {
		verify("after a kill", killed)
		s.equal("audit after a kill", killed.entries(), s.entries())
	}
	s.reopen()
	verify("after Close", s)
}

// testChange verifies that Apply passes the stored token to the ChangeFunc and stores the
// returned token, the audit entry and the time.
func testChange(s *suite) {
	var entries []tokenstore.AuditEntry
	var want *token.Token
	for i, next := range []*token.Token{newToken(1), wholeToken(1), nil, newToken(1)} {
		at := now.Add(time.Duration(i) * time.Second)
		entry := tokenstore.AuditEntry{
			Time: at, Actor: "me", Action: fmt.Sprint("action ", i), TokenID: idOf(1), TokenName: "name",
			Address: "::1",
			Changes: map[string]string{"a": "b"},
		}
		got, err := s.Apply(idOf(1), at, func(old *token.Token) (tokenstore.Change, error) {
			s.equal("the token passed to change", old, want)
			return tokenstore.Change{Token: next, Audit: entry}, nil
		})
		s.check(err)
		s.equal("the token returned by Apply", got, next)
		want, entries = next, append([]tokenstore.AuditEntry{entry}, entries...)
		s.equal("audit", s.entries(), entries)
		s.equal("recorded", s.state().Recorded, at)
		for _, order := range []tokenstore.Order{tokenstore.OrderCreated, tokenstore.OrderExpires} {
			if listed := s.list(order, nil, false); (next == nil) != (len(listed) == 0) || next != nil &&
				len(listed) != 1 {
				s.Errorf("change %d: unexpected list in order %d: %v", i, order, listed)
			}
		}
	}
	// An earlier time is not recorded.
	recorded := s.state().Recorded
	s.put(newToken(2))
	s.equal("recorded", s.state().Recorded, recorded)
}

// testDigests verifies that a token is found only by its two digests.
func testDigests(s *suite) {
	a, b, next := digest("a"), digest("b"), digest("next")
	one, other := newToken(1), newToken(2)
	one.Digest, other.Digest = a, b
	s.put(one, other)
	var none token.ID
	leads := func(what string, digest token.Digest, want token.ID) {
		s.Helper()
		id, err := s.IDOf(digest)
		if unknown := want == none; id != want || unknown != errors.Is(err, tokenstore.ErrNotFound) || !unknown &&
			err != nil {
			s.Errorf("IDOf %s: got %v, %v, want %v", what, id, err, want)
		}
	}
	must := func(err error) { s.Helper(); s.check(err) }
	leads("the digest", a, one.ID)
	leads("an unknown digest", next, none)
	leads("the zero digest", token.Digest{}, none)
	near := a
	near[31] ^= 1
	leads("a digest that differs in one bit", near, none)

	must(s.edit(one.ID, func(token *token.Token) { token.PreviousDigest, token.Digest = a, next }))
	leads("the previous digest", a, one.ID)
	leads("the new digest", next, one.ID)
	for _, digest := range []token.Digest{a, next} {
		for name, edit := range map[string]func(*token.Token){
			"digest":          func(token *token.Token) { token.Digest = digest },
			"previous digest": func(token *token.Token) { token.PreviousDigest = digest },
		} {
			if err := s.edit(other.ID, edit); !errors.Is(err, tokenstore.ErrTaken) {
				s.Errorf("setting another token's digest as %s: got error %v, want ErrTaken", name, err)
			}
		}
	}
	leads("the other's digest", b, other.ID)

	must(s.edit(one.ID, func(tok *token.Token) { tok.PreviousDigest = token.Digest{} }))
	leads("a removed digest", a, none)
	leads("the remaining digest", next, one.ID)
	must(s.edit(other.ID, func(token *token.Token) { token.PreviousDigest = a }))
	leads("a reused digest", a, other.ID)
	s.reopen()
	leads("the digest, reopened", next, one.ID)
	leads("the previous digest, reopened", a, other.ID)
	s.remove(one.ID)
	s.remove(other.ID)
	for _, digest := range []token.Digest{a, b, next} {
		leads("a deleted token's digest", digest, none)
	}
}

// testRefusals verifies that a refused change stores nothing and doesn't prevent later
// changes.
func testRefusals(s *suite) {
	at := now.Add(-time.Hour)
	s.put(newToken(1), newToken(2))
	s.check(s.apply(idOf(1), tokenstore.Change{
		Token: newToken(1), Request: &tokenstore.KeptRequest{Key: digest("kept"), Body: digest("body"), ID: idOf(1),
			Time: now},
		Ended: &tokenstore.EndedSecret{Digest: digest("ended"), At: at},
	}))
	errNo := errors.New("no")
	taken, previous, ended := wholeToken(3), wholeToken(3), wholeToken(3)
	taken.Digest, previous.PreviousDigest, ended.Digest = digest("1"), digest("1"), digest("ended")
	before := s.content()
	for name, c := range map[string]struct {
		token *token.Token
		key   string
		err   error
		want  error
	}{
		"error from change":          {wholeToken(3), "new", errNo, errNo},
		"digest of another":          {taken, "new", nil, tokenstore.ErrTaken},
		"previous digest of another": {previous, "new", nil, tokenstore.ErrTaken},
		"ended":                      {ended, "new", nil, tokenstore.ErrTaken},
		"repeated":                   {wholeToken(3), "kept", nil, tokenstore.ErrRepeated},
	} {
		for _, id := range []token.ID{idOf(3), idOf(2)} { // a new token and a stored one
			c.token.ID = id
			token, err := s.Apply(id, now.Add(time.Hour), func(*token.Token) (tokenstore.Change, error) {
				return tokenstore.Change{
					Token: c.token, Audit: tokenstore.AuditEntry{Time: now, TokenID: id},
					Request: &tokenstore.KeptRequest{Key: digest(c.key), Body: digest(name), ID: id, Time: now},
					Ended:   &tokenstore.EndedSecret{Digest: digest("unended"), At: at},
				}, c.err
			})
			if token != nil || !errors.Is(err, c.want) || c.err != nil && err != c.err { //nolint:errorlint
				s.Errorf("%s: Apply returned %v, %v, want error %v", name, token, err, c.want)
			}
			if e, is := errors.AsType[*tokenstore.EndedError](err); is != (name == "ended") || is && !e.At.Equal(at) {
				s.Errorf("%s: unexpected error details %#v", name, err)
			}
		}
		s.equal(name, s.content(), before)
		if kept, err := s.Request(digest("new")); !errors.Is(err, tokenstore.ErrNotFound) {
			s.Errorf("%s: the refused request was stored: %v, %v", name, kept, err)
		}
		if kept, err := s.Request(digest("kept")); err != nil || kept.Body != digest("body") {
			s.Errorf("%s: the earlier request changed to %v, %v", name, kept, err)
		}
		if id, err := s.IDOf(wholeToken(3).PreviousDigest); !errors.Is(err, tokenstore.ErrNotFound) {
			s.Errorf("%s: IDOf a refused digest: got %v, %v, want ErrNotFound", name, id, err)
		}
	}
	free := newToken(3)
	free.Digest = digest("unended")
	s.put(free)
}

// testEnded verifies that no token can be given an ended secret.
func testEnded(s *suite) {
	early, late := now.Add(-time.Hour), now.Add(time.Hour)
	end := func(text string, at time.Time, known bool) {
		s.Helper()
		s.check(
			s.apply(idOf(1),
				tokenstore.Change{Token: newToken(1), Ended: &tokenstore.EndedSecret{Digest: digest(text), At: at},
					EndsKnown: known}))
	}
	ended := func(text string, want time.Time) {
		s.Helper()
		token := newToken(2)
		token.Digest = digest(text)
		err := s.apply(token.ID, tokenstore.Change{Token: token})
		if e, is := errors.AsType[*tokenstore.EndedError](err); is == want.IsZero() || is && !e.At.Equal(want) || !is &&
			err != nil {
			s.Errorf("using secret %q: got error %v, want end time %v", text, err, want)
		}
	}
	s.put(newToken(1), newToken(3))
	end("x", late, false)
	ended("x", late)
	end("x", early, false)
	ended("x", early)
	end("x", late, false)
	ended("x", early) // the earlier time is kept
	end("y", now, true)
	ended("y", time.Time{}) // not stored, because its digest was unknown
	end("z", late, false)
	end("z", early, true)
	ended("z", early)

	// A token that already has the ended secret can still be changed and can keep the secret
	// as its previous one.
	end("3", now, false)
	s.check(s.edit(idOf(3), func(token *token.Token) { token.Name = "still" }))
	s.check(s.edit(idOf(3), func(token *token.Token) {
		token.PreviousDigest, token.Digest = token.Digest,
			digest("new")
	}))
	s.reopen()
	ended("x", early)
	ended("z", early)
	if err := s.edit(idOf(3), func(tok *token.Token) {
		tok.PreviousDigest, tok.Digest = token.Digest{},
			digest("3")
	}); !errors.Is(err, tokenstore.ErrTaken) {
		s.Errorf("restoring a token's own ended secret: got error %v, want ErrTaken", err)
	}
}

// testRequests verifies that a request is stored with its change and that a repeat is refused
// during the retention period.
func testRequests(s *suite) {
	ask := func(i int, at time.Time) error {
		return s.apply(idOf(i), tokenstore.Change{
			Token: newToken(i),
			Request: &tokenstore.KeptRequest{Key: digest("key"), Body: digest(fmt.Sprint("body", i)), ID: idOf(i),
				Time: at},
		})
	}
	kept := func(i int, at time.Time) {
		s.Helper()
		got, err := s.Request(digest("key"))
		s.check(err)
		got.Time = got.Time.UTC()
		s.equal("request", got, tokenstore.KeptRequest{Key: digest("key"), Body: digest(fmt.Sprint("body", i)),
			ID: idOf(i), Time: at})
	}
	if _, err := s.Request(digest("key")); !errors.Is(err, tokenstore.ErrNotFound) {
		s.Errorf("Request for an unknown key: got error %v, want ErrNotFound", err)
	}
	s.check(ask(1, now))
	kept(1, now)
	s.put(newToken(9)) // a change without a request
	s.reopen()
	kept(1, now)
	if err := ask(2, now.Add(tokenstore.RequestRetention-time.Second)); !errors.Is(err, tokenstore.ErrRepeated) {
		s.Errorf("repeating a request: got error %v, want ErrRepeated", err)
	}
	kept(1, now)
	again := now.Add(tokenstore.RequestRetention)
	s.check(ask(3, again))
	kept(3, again)
	// Prune deletes the first request but not its replacement.
	for more := true; more; {
		var err error
		more, err = s.Prune(tokenstore.Retention{Requests: again})
		s.check(err)
	}
	kept(3, again)
}
