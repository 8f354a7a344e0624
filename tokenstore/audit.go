package tokenstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
)

// AuditEntry is an entry in the audit log, which records who changed what.
type AuditEntry struct {
	Time time.Time
	// Actor is an admin token's ID, a Caddy user's name or "caddy-admin".
	Actor string
	// Action is the kind of change, such as "create" or "delete".
	Action string
	// TokenID is zero if the entry isn't about a token.
	TokenID   token.ID
	TokenName string
	// Address is the client address the change was requested from.
	Address string
	// Changes maps the name of each changed field to a description of the change. It never
	// contains a secret.
	Changes map[string]string
}

// AuditPosition is a position in the audit log.
type AuditPosition struct {
	Time time.Time
	// Sequence distinguishes entries with the same time.
	Sequence uint64
}

// Actor identifies the person or token that requests a change.
type Actor struct {
	// Name is an admin token's ID, a Caddy user's name or "caddy-admin".
	Name string
	// Address is the client address, or empty if there is none.
	Address string
	// Authorize returns an error if the actor may no longer make changes. The store calls it
	// within each change's transaction, possibly more than once. It must not block, and the
	// only store method it may call is [Store.Refresh]. A nil Authorize allows all changes.
	Authorize func() error
}

// ErrUnauthorized is returned if the actor lost the right to make a change before the change's
// transaction began. The returned error also wraps the error from [Actor].Authorize.
var ErrUnauthorized = errors.New("the actor may no longer make changes")

// authorize calls Authorize, if set, and wraps its error in ErrUnauthorized.
func (a Actor) authorize() error {
	if a.Authorize == nil {
		return nil
	}
	if err := a.Authorize(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	return nil
}

// audit returns the audit entry for a change to a token.
func (a Actor) audit(now time.Time, action string, token *token.Token, changes map[string]string) AuditEntry {
	return AuditEntry{
		Time: now, Actor: a.Name, Address: a.Address, Action: action,
		TokenID: token.ID, TokenName: token.Name, Changes: changes,
	}
}

// AuditPage selects a page from the audit log.
type AuditPage struct {
	// Before is the position of the last entry already returned. Nil starts at the newest
	// entry.
	Before *AuditPosition
	// Limit is the maximum number of entries to return. Values below 1 mean 1.
	Limit int
	// Match reports whether to include an entry. Nil includes all.
	Match func(AuditEntry) bool
}

// Audit returns a page of the audit log, newest entry first, and the position to continue
// from, or nil if there are no more entries.
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

// KeepAudit sets how long audit entries are retained. Before the first call, or if the
// lifetime is unlimited, no entries are deleted.
func (s *Store) KeepAudit(retention token.Lifetime) { s.auditRetention.Store(&retention) }
