package tokenstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
)

// AuditEntry is a line of the record of who changed what.
type AuditEntry struct {
	Time time.Time
	// Actor is an admin token's id, a Caddy user's name or "caddy-admin".
	Actor string
	// Action is "create", "delete" and so on.
	Action string
	// TokenID is zero if the entry is about no token.
	TokenID   token.ID
	TokenName string
	// Address is where the call came from.
	Address string
	// Changes are the fields that changed, in words; never a secret.
	Changes map[string]string
}

// AuditPosition is a place in the audit.
type AuditPosition struct {
	Time time.Time
	// Sequence tells entries of the same time apart.
	Sequence uint64
}

// Actor is who asks for a change.
type Actor struct {
	// Name is an admin token's id, a Caddy user's name or "caddy-admin".
	Name string
	// Address is the client's address, if there is one.
	Address string
	// Authorize returns an error if the actor may no longer make changes. It is
	// called within each change's transaction, perhaps more than once, so it must
	// not block or use the store other than by [Store.Refresh]. Nil allows all
	// changes.
	Authorize func() error
}

// ErrUnauthorized is returned for a change whose actor lost the right to make it
// before the change's transaction began. It wraps the error of [Actor].Authorize.
var ErrUnauthorized = errors.New("the actor may no longer make changes")

// authorize calls Authorize.
func (a Actor) authorize() error {
	if a.Authorize == nil {
		return nil
	}
	if err := a.Authorize(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	return nil
}

// audit returns the entry about a change of a token.
func (a Actor) audit(now time.Time, action string, token *token.Token, changes map[string]string) AuditEntry {
	return AuditEntry{
		Time: now, Actor: a.Name, Address: a.Address, Action: action,
		TokenID: token.ID, TokenName: token.Name, Changes: changes,
	}
}

// AuditPage asks for part of the audit.
type AuditPage struct {
	// Before is the position of the last entry already seen; nil begins with the
	// newest.
	Before *AuditPosition
	// Limit is the most entries to return; less than 1 is 1.
	Limit int
	// Match leaves out entries it returns false for; nil keeps all.
	Match func(AuditEntry) bool
}

// Audit returns a page of the audit, newest first, and the position to go on
// from, or nil if these are the last.
func (s *Store) Audit(page AuditPage) ([]AuditEntry, *AuditPosition, error) {
	if s.closed.Load() {
		return nil, nil, ErrClosed
	}
	var (
		entries []AuditEntry
		last    AuditPosition
		more    bool
	)
	err := s.backend.Audit(page.Before, func(at AuditPosition, entry AuditEntry) bool {
		if page.Match != nil && !page.Match(entry) {
			return true
		}
		if len(entries) == max(page.Limit, 1) {
			more = true
			return false
		}
		entries, last = append(entries, entry), at
		return true
	})
	if err != nil {
		return nil, nil, readError(err)
	}
	if !more {
		return entries, nil, nil
	}
	return entries, &last, nil
}

// KeepAudit sets how long audit entries are kept. Until it is called, and with an
// unlimited lifetime, they are kept for ever.
func (s *Store) KeepAudit(retention token.Lifetime) { s.auditRetention.Store(&retention) }
