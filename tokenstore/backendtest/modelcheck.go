package backendtest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Violation is a Store result that a Model did not expect. Which violations a test must forbid
// depends on the fault: after damage, for example, some tokens may be Damaged.
type Violation struct {
	Kind ViolationKind
	// ID is the token's ID, or empty if the violation isn't about a token.
	ID   string
	Text string
}

// ViolationKind is a kind of violation.
type ViolationKind string

const (
	// DeadAlive means that a secret is accepted although it or its token is no longer valid.
	DeadAlive ViolationKind = "dead token alive"
	// LiveUnknown means that a token exists but the result is ErrNotFound (401).
	LiveUnknown ViolationKind = "live token unknown"
	// RevokedUnknown is like LiveUnknown for a revoked token.
	RevokedUnknown ViolationKind = "revoked token unknown"
	// ChangeLost means that a token's state doesn't include the last acknowledged change.
	ChangeLost ViolationKind = "acknowledged change lost"
	// Unlisted means that a token exists but is missing from the list.
	Unlisted ViolationKind = "token not listed"
	// Damaged means that the result is ErrDamaged (503).
	Damaged ViolationKind = "token damaged"
	// Unavailable means that the result is ErrUnavailable (503).
	Unavailable ViolationKind = "store unavailable"
	// UsageOver means that more requests were counted for a token than were sent.
	UsageOver ViolationKind = "usage over-counted"
	// UsageLost means that a token's count is lower than the saved count.
	UsageLost ViolationKind = "saved usage lost"
	// UsageUnsaved means that a token's count is lower than the number of requests counted.
	UsageUnsaved ViolationKind = "counted usage lost"
	// OtherError is an undocumented error.
	OtherError ViolationKind = "other error"
)

// Possible results of a Store. For an active token, the result is resultActive followed by the
// token's scopes.
const (
	resultUnknown     = "unknown"
	resultRevoked     = "revoked"
	resultDisabled    = "disabled"
	resultDamaged     = "damaged"
	resultUnavailable = "unavailable"

	resultActive = "active: "
)

// Check compares all of a Store's results with the Model and returns the differences.
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

// present authenticates one of the token's secrets.
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
	return match, t.judge(fmt.Sprintf("secret %d", number), result(match.Status, scopes, err),
		func(state ModelState) string {
			return state.ofSecret(number, now)
		})
}

// checkStored checks the token and its usage as returned by Get.
func (t *ModelToken) checkStored(s *tokenstore.Store) []Violation {
	got, err := s.Get(t.id())
	found := t.judge("stored token", resultOf(got.Token, s.Now(), err), ModelState.ofToken)
	if err != nil {
		return found
	}
	switch total := got.Usage.Allowed + got.Usage.Denied; {
	case total > t.MayBeCounted:
		found = append(found,
			Violation{UsageOver, t.ID, fmt.Sprintf("got %d requests, but at most %d were sent", total, t.MayBeCounted)})
	case total < t.Saved:
		found = append(found,
			Violation{UsageLost, t.ID, fmt.Sprintf("got %d requests, but %d were saved", total, t.Saved)})
	case total < t.Counted:
		found = append(found,
			Violation{UsageUnsaved, t.ID, fmt.Sprintf("got %d requests, but %d were counted", total, t.Counted)})
	}
	return found
}

// checkInvented authenticates a secret that the Store never returned.
func checkInvented(s *tokenstore.Store) []Violation {
	id, err := token.NewID(nil)
	invented := token.Token{ID: id, Prefix: token.DefaultPrefix, Terms: token.Terms{Kind: token.KindAPI}}
	secret, secretErr := invented.NewSecret(nil)
	credential, parseErr := ModelPolicy.Prefixes.Parse(secret.Reveal())
	if err := errors.Join(err, secretErr, parseErr); err != nil {
		return []Violation{{OtherError, "", err.Error()}}
	}
	if _, err := s.Authenticate(credential, s.Now()); err == nil {
		return []Violation{{DeadAlive, "", "an invented secret was accepted"}}
	} else if !errors.Is(err, tokenstore.ErrNotFound) {
		return []Violation{refusal("", "invented secret", err)}
	}
	return nil
}

// checkList checks the list of tokens.
func (m *Model) checkList(s *tokenstore.Store) (found []Violation) {
	listed, _, err := s.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 10*len(m.Tokens) + 1000})
	if err != nil {
		return []Violation{refusal("", "list", err)}
	}
	results := make(map[string]string, len(listed))
	for _, entry := range listed {
		results[entry.Token.ID.String()] = resultOf(entry.Token, s.Now(), nil)
	}
	for _, t := range m.Tokens {
		if got, ok := results[t.ID]; ok {
			found = append(found, t.judge("listed token", got, ModelState.ofToken)...)
		} else if wrong := t.judge("listed token", resultUnknown, ModelState.ofToken); len(wrong) > 0 {
			found = append(found, Violation{Unlisted, t.ID, wrong[0].Text})
		}
	}
	return found
}

// judge compares a result with the results that the token's possible states allow.
func (t *ModelToken) judge(what, got string, expected func(ModelState) string) []Violation {
	var wanted []string
	active, ended := false, true
	for _, state := range t.States {
		want := expected(state)
		if want == got {
			return nil
		}
		if state.Deleted && len(t.States) > 1 && got == resultRevoked {
			return nil // refused until the deletion's outcome is known
		}
		wanted = append(wanted, want)
		active = active || strings.HasPrefix(want, resultActive)
		ended = ended && (want == resultRevoked || want == resultUnknown)
	}
	kind := ChangeLost
	switch {
	case got == resultDamaged:
		kind = Damaged
	case got == resultUnavailable:
		kind = Unavailable
	case strings.HasPrefix(got, resultActive) && !active:
		kind = DeadAlive
	case got == resultUnknown && ended:
		kind = RevokedUnknown
	case got == resultUnknown:
		kind = LiveUnknown
	}
	return []Violation{{kind, t.ID, fmt.Sprintf("%s: got %s, want %s", what, got, strings.Join(wanted, " or "))}}
}

// ofToken returns the expected result for a token in this state.
func (s ModelState) ofToken() string {
	switch {
	case s.Deleted:
		return resultUnknown
	case s.Revoked:
		return resultRevoked
	case s.Disabled:
		return resultDisabled
	}
	return resultActive + s.Scopes
}

// ofSecret returns the expected result for one of the token's secrets in this state.
func (s ModelState) ofSecret(number int, now time.Time) string {
	switch {
	case number == s.Previous && now.Unix() >= s.PreviousUntil:
		return resultRevoked
	case number == s.Current, number == s.Previous:
		return s.ofToken()
	}
	return resultUnknown
}

func resultOf(t *token.Token, now time.Time, err error) string {
	if t == nil {
		return result(0, nil, err)
	}
	return result(t.Status(now), t.Scopes, err)
}

func result(status token.Status, scopes token.Grants, err error) string {
	switch {
	case errors.Is(err, token.ErrDamaged):
		return resultDamaged
	case errors.Is(err, tokenstore.ErrNotFound):
		return resultUnknown
	case errors.Is(err, tokenstore.ErrUnavailable):
		return resultUnavailable
	case err != nil:
		return err.Error()
	case status == token.StatusActive:
		return resultActive + strings.Join(scopes, " ")
	}
	return status.String()
}

// refusal returns the violation that corresponds to an error.
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
