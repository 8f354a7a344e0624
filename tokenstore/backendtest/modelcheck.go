package backendtest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Violation is an answer of a Store that a Model did not expect. Which of them a test
// forbids depends on the fault: after damage, some tokens may be Damaged.
type Violation struct {
	Kind ViolationKind
	// ID is empty if it is about no token.
	ID   string
	Text string
}

// ViolationKind is a kind of unexpected answer.
type ViolationKind string

const (
	// DeadAlive is a secret that is accepted although it, or its token, was ended.
	DeadAlive ViolationKind = "dead token alive"
	// LiveUnknown is a token that exists and is answered with ErrNotFound (401).
	LiveUnknown ViolationKind = "live token unknown"
	// RevokedUnknown is the same for a token that was revoked.
	RevokedUnknown ViolationKind = "revoked token unknown"
	// ChangeLost is a token that is not as the last acknowledged change left it.
	ChangeLost ViolationKind = "acknowledged change lost"
	// Unlisted is a token that exists and is missing from the list.
	Unlisted ViolationKind = "token not listed"
	// Damaged is an answer of ErrDamaged (503).
	Damaged ViolationKind = "token damaged"
	// Unavailable is an answer of ErrUnavailable (503).
	Unavailable ViolationKind = "store unavailable"
	// UsageOver is a token with more requests than were sent.
	UsageOver ViolationKind = "usage over-counted"
	// UsageLost is a token with fewer requests than were saved.
	UsageLost ViolationKind = "saved usage lost"
	// UsageUnsaved is a token with fewer requests than were counted.
	UsageUnsaved ViolationKind = "counted usage lost"
	// OtherError is an error that the documentation doesn't name.
	OtherError ViolationKind = "other error"
)

// The answers of a Store other than an active token, which is answered with its scopes.
const (
	answerUnknown     = "unknown"
	answerRevoked     = "revoked"
	answerDisabled    = "disabled"
	answerDamaged     = "damaged"
	answerUnavailable = "unavailable"

	answerActive = "active: "
)

// Check compares all answers of a Store with the Model and returns the differences.
func (m *Model) Check(s *tokenstore.Store) (found []Violation) {
	for _, t := range m.Tokens {
		for number := range t.Secrets {
			_, wrong := t.present(s, number)
			found = append(found, wrong...)
		}
		found = append(found, t.checkStored(s)...)
	}
	return append(append(found, checkInvented(s)...), m.checkList(s)...)
}

// present presents a secret of the token.
func (t *ModelToken) present(s *tokenstore.Store, number int) (tokenstore.Match, []Violation) {
	credential, err := ModelPolicy.Prefixes.Parse(t.Secrets[number])
	if err != nil {
		return tokenstore.Match{}, []Violation{{OtherError, t.ID, err.Error()}}
	}
	now := s.Now()
	match, err := s.Authenticate(credential, now)
	var scopes token.Grants
	if err == nil {
		scopes = match.Token.Scopes
	}
	return match, t.judge(fmt.Sprintf("secret %d", number), answer(match.Status, scopes, err),
		func(state ModelState) string {
			return state.ofSecret(number, now)
		})
}

// checkStored looks at what the Store shows of the token.
func (t *ModelToken) checkStored(s *tokenstore.Store) []Violation {
	got, err := s.Get(t.id())
	found := t.judge("stored token", answerOf(got.Token, s.Now(), err), ModelState.ofToken)
	if err != nil {
		return found
	}
	switch total := got.Usage.Allowed + got.Usage.Denied; {
	case total > t.MayBeCounted:
		found = append(found,
			Violation{UsageOver, t.ID, fmt.Sprintf("%d requests, at most %d were sent", total, t.MayBeCounted)})
	case total < t.Saved:
		found = append(found, Violation{UsageLost, t.ID, fmt.Sprintf("%d requests, %d were saved", total, t.Saved)})
	case total < t.Counted:
		found = append(found,
			Violation{UsageUnsaved, t.ID, fmt.Sprintf("%d requests, %d were counted", total, t.Counted)})
	}
	return found
}

// checkInvented presents a secret that nobody was ever given.
func checkInvented(s *tokenstore.Store) []Violation {
	id, err := token.NewID(nil)
	invented := token.Token{ID: id, Prefix: token.DefaultPrefix, Terms: token.Terms{Kind: token.KindAPI}}
	secret, secretErr := invented.NewSecret(nil)
	credential, parseErr := ModelPolicy.Prefixes.Parse(secret.Reveal())
	if err := errors.Join(err, secretErr, parseErr); err != nil {
		return []Violation{{OtherError, "", err.Error()}}
	}
	if _, err := s.Authenticate(credential, s.Now()); err == nil {
		return []Violation{{DeadAlive, "", "an invented secret is accepted"}}
	} else if !errors.Is(err, tokenstore.ErrNotFound) {
		return []Violation{refusal("", "invented secret", err)}
	}
	return nil
}

// checkList looks for the tokens in the list.
func (m *Model) checkList(s *tokenstore.Store) (found []Violation) {
	listed, _, err := s.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 10*len(m.Tokens) + 1000})
	if err != nil {
		return []Violation{refusal("", "list", err)}
	}
	answers := make(map[string]string, len(listed))
	for _, entry := range listed {
		answers[entry.Token.ID.String()] = answerOf(entry.Token, s.Now(), nil)
	}
	for _, t := range m.Tokens {
		if got, ok := answers[t.ID]; ok {
			found = append(found, t.judge("listed token", got, ModelState.ofToken)...)
		} else if wrong := t.judge("listed token", answerUnknown, ModelState.ofToken); len(wrong) > 0 {
			found = append(found, Violation{Unlisted, t.ID, wrong[0].Text})
		}
	}
	return found
}

// judge compares an answer with those that the token's states allow.
func (t *ModelToken) judge(what, got string, expected func(ModelState) string) []Violation {
	var wanted []string
	active, ended := false, true
	for _, state := range t.States {
		want := expected(state)
		if want == got {
			return nil
		}
		if state.Deleted && len(t.States) > 1 && got == answerRevoked {
			return nil // refused, until it is known whether the deletion is stored
		}
		wanted = append(wanted, want)
		active = active || strings.HasPrefix(want, answerActive)
		ended = ended && (want == answerRevoked || want == answerUnknown)
	}
	kind := ChangeLost
	switch {
	case got == answerDamaged:
		kind = Damaged
	case got == answerUnavailable:
		kind = Unavailable
	case strings.HasPrefix(got, answerActive) && !active:
		kind = DeadAlive
	case got == answerUnknown && ended:
		kind = RevokedUnknown
	case got == answerUnknown:
		kind = LiveUnknown
	}
	return []Violation{{kind, t.ID, fmt.Sprintf("%s: %s, want %s", what, got, strings.Join(wanted, " or "))}}
}

// ofToken returns the answer about a token in this state.
func (s ModelState) ofToken() string {
	switch {
	case s.Deleted:
		return answerUnknown
	case s.Revoked:
		return answerRevoked
	case s.Disabled:
		return answerDisabled
	}
	return answerActive + s.Scopes
}

// ofSecret returns the answer to a secret of a token in this state.
func (s ModelState) ofSecret(number int, now time.Time) string {
	switch {
	case number == s.Previous && now.Unix() >= s.PreviousUntil:
		return answerRevoked
	case number == s.Current, number == s.Previous:
		return s.ofToken()
	}
	return answerUnknown
}

func answerOf(t *token.Token, now time.Time, err error) string {
	if t == nil {
		return answer(0, nil, err)
	}
	return answer(t.Status(now), t.Scopes, err)
}

func answer(status token.Status, scopes token.Grants, err error) string {
	switch {
	case errors.Is(err, token.ErrDamaged):
		return answerDamaged
	case errors.Is(err, tokenstore.ErrNotFound):
		return answerUnknown
	case errors.Is(err, tokenstore.ErrUnavailable):
		return answerUnavailable
	case err != nil:
		return err.Error()
	case status == token.StatusActive:
		return answerActive + strings.Join(scopes, " ")
	}
	return status.String()
}

// refusal returns the violation that an error is.
func refusal(id, what string, err error) Violation {
	kind := OtherError
	switch {
	case errors.Is(err, token.ErrDamaged):
		kind = Damaged
	case errors.Is(err, tokenstore.ErrNotFound):
		kind = LiveUnknown
	case errors.Is(err, token.ErrConflict):
		kind = ChangeLost
	case errors.Is(err, tokenstore.ErrUnavailable):
		kind = Unavailable
	}
	return Violation{kind, id, what + ": " + err.Error()}
}
