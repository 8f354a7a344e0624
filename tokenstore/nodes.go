package tokenstore

import (
	"context"
	"errors"

	"github.com/mollygate/mollygate/token"
)

// Sync waits until reads include every change that was acknowledged before the call, by this
// process or, if the store is shared, by any other. If that isn't possible, the error says why;
// reads then may lack recent changes.
func (s *Store) Sync(ctx context.Context) error {
	if s.shared == nil {
		return nil
	}
	return s.shared.Sync(ctx)
}

// Nodes returns the nodes that share the store, or nil if it isn't shared.
func (s *Store) Nodes() []Node {
	if s.shared == nil {
		return nil
	}
	return s.shared.Nodes()
}

// Contact returns this node's contact to a shared store. It is zero if the store isn't shared.
func (s *Store) Contact() Contact {
	if s.shared == nil {
		return Contact{}
	}
	return s.shared.Contact()
}

// Shared reports whether other processes share the store.
func (s *Store) Shared() bool { return s.shared != nil }

// Stale returns an error that wraps [ErrStale] if this node's copy of a shared store is too old
// to be used. Authenticate then returns the same error. It returns nil if the store isn't
// shared.
func (s *Store) Stale() error {
	if s.shared == nil {
		return nil
	}
	return s.shared.Stale()
}

// UsageByNode maps the ID of each node that counted requests of a token to the token's usage
// there. It returns nil if the store isn't shared. The errors are [ErrNotFound] and
// [ErrUnavailable].
func (s *Store) UsageByNode(id token.ID) (map[string]Usage, error) {
	if s.shared == nil {
		return nil, nil
	}
	if _, err := s.backend.Token(id); err != nil {
		return nil, readError(err)
	}
	nodes, err := s.shared.ElsewhereByNode(id, noDay, noDay-1)
	if err != nil {
		return nil, readError(err)
	}
	own, err := s.ownUsage(id, noDay, noDay-1)
	if err != nil {
		return nil, err
	}
	if own.Allowed+own.Denied > 0 {
		nodes[s.shared.NodeID()] = own
	}
	return nodes, nil
}

// Restore replaces a shared store's tokens, audit log and usage at all nodes with those of a
// single gate's store, for example a backup. path is the path of that store, which must not be in
// use and may be changed. Changes since the backup are undone. Restore returns what the backup
// contains. The error is a [*BackupError] if the file can't be restored, and
// [errors.ErrUnsupported] if the store isn't shared.
func (s *Store) Restore(ctx context.Context, path string, actor Actor) (restored Restored, err error) {
	if s.shared == nil {
		return Restored{}, errors.ErrUnsupported
	}
	err = s.replaceShared(actor, "restore", func(entry AuditEntry) error {
		restored, err = s.shared.Restore(ctx, path, entry)
		return err
	})
	return restored, err
}

// Accept makes all nodes follow a shared store that has lost changes which they know. Tokens that
// were revoked since may be valid again. The error is [errors.ErrUnsupported] if the store isn't
// shared.
func (s *Store) Accept(ctx context.Context, actor Actor) error {
	if s.shared == nil {
		return errors.ErrUnsupported
	}
	return s.replaceShared(actor, "accept store", func(entry AuditEntry) error { return s.shared.Accept(ctx, entry) })
}

func (s *Store) replaceShared(actor Actor, action string, replace func(AuditEntry) error) error {
	if err := actor.authorize(); err != nil {
		return err
	}
	entry := AuditEntry{Time: s.Now(), Actor: actor.Name, Address: actor.Address, Action: action}
	err := replace(entry)
	if _, invalid := errors.AsType[*BackupError](err); err == nil || invalid {
		return err
	}
	return readError(err)
}

// Confirm waits until every change that was acknowledged before the call is in force at all live
// nodes, or until the context is done. It returns the nodes that haven't confirmed it. These
// include nodes that are no longer live but may accept tokens until their copies are stale,
// unless they have stopped. It doesn't wait for such nodes. If the store isn't shared, there are
// none.
func (s *Store) Confirm(ctx context.Context) (missing []Node, err error) {
	if s.shared == nil {
		return nil, nil
	}
	return s.shared.Confirm(ctx)
}
