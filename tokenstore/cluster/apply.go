package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Apply implements tokenstore.Backend. The change is on disk at the shared store when Apply
// returns.
func (b *Backend) Apply(id token.ID, now time.Time, change tokenstore.ChangeFunc) (*token.Token, error) {
	if b.closed.Load() {
		return nil, tokenstore.ErrClosed
	}
	ctx, cancel := b.deadline()
	defer cancel()
	a := attempt{Backend: b, id: id, now: now, change: change}
	for {
		tok, again, err := a.try(ctx)
		if !again || err != nil {
			return tok, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: other gates changed the token at the same time; try again",
				tokenstore.ErrUnavailable)
		}
	}
}

// attempt is a change in progress.
type attempt struct {
	*Backend
	id     token.ID
	now    time.Time
	change tokenstore.ChangeFunc
	// expired is the revision of an expired request with the same idempotency key, or 0.
	expired int64
}

// try makes one attempt. It sets again if another node has changed something that the change
// depends on.
func (a *attempt) try(ctx context.Context) (tok *token.Token, again bool, err error) {
	n := a.writer.current()
	k := keysOf(n.Generation)
	known, knownErr := a.Token(a.id) // before the read: afterwards, this node may know a newer version
	records, err := a.engine.Read(ctx, append([]string{storeKey, k.change(), k.token(a.id)}, n.lastKeys()...)...)
	if err != nil {
		return nil, false, a.unavailable("the shared store can't be read", err)
	}
	if err := a.checkFollowed(records[0], n); err != nil {
		return nil, false, a.unavailable("the shared store can't be changed", err)
	}
	// Once this node has all changes up to the read, the actor's rights are current, too.
	if err := a.catchUp(ctx, n, records[1].Revision, records[3:]); err != nil {
		return nil, false, a.unavailable("this gate has not received the newest changes", err)
	}
	old, err := a.decode(records[2], known, knownErr)
	if err != nil {
		return nil, false, err
	}
	changed, err := a.change(old)
	if err != nil {
		return nil, false, err
	}
	if old != nil && old.Damaged && changed.Token != nil {
		return nil, false, fmt.Errorf("%w: it can only be deleted", token.ErrDamaged)
	}
	if err := a.checkDigests(changed.Token); err != nil {
		return nil, false, err
	}
	t := transaction{sealer: a.seal, keys: k}
	t.condition(storeKey, records[0].Revision)
	t.condition(k.token(a.id), records[2].Revision)
	t.putToken(a.id, old, changed.Token)
	if err := a.putEnded(ctx, &t, old, changed); err != nil {
		return nil, false, err
	}
	if r := changed.Request; r != nil {
		t.condition(k.request(r.Key), a.expired)
		t.put(k.request(r.Key), tokenstore.EncodeRequest(*r))
	}
	entry := t.putAudit(a.sequence.next(), changed.Audit)
	a.own.add(entry, a.now)
	revision, failed, err := a.commit(ctx, &t, k.audit(entry))
	if err != nil || failed != nil {
		a.own.take(hex.EncodeToString(entry)) // if it takes effect after all, the Store doesn't know of it
	}
	switch {
	case err != nil:
		return nil, false, err
	case failed != nil:
		return nil, true, a.explain(ctx, k, failed, changed)
	}
	a.overlay.set(a.id, overlaid{revision: revision, token: changed.Token})
	_ = a.settle(ctx, revision)
	return changed.Token, false, nil
}

// settle waits until the change is in force here and written to the replica, so that reads that
// follow include it. The change itself doesn't depend on that, so an error doesn't undo it.
func (b *Backend) settle(ctx context.Context, revision int64) error {
	if err := b.seen.wait(ctx, revision); err != nil {
		return err
	}
	return b.writer.flush(ctx)
}

// decode returns the token in a record, or nil if there is none. known and knownErr are what this
// node knew of the token before the record was read.
func (a *attempt) decode(r Record, known *token.Token, knownErr error) (*token.Token, error) {
	if r.Revision == 0 {
		return nil, nil
	}
	record, err := a.seal.open(r.Key, r.Value)
	if err == nil {
		var tok *token.Token
		if tok, err = token.DecodeToken(a.id, record); err == nil {
			if err = a.checkVersion(tok, known, knownErr); err == nil {
				return tok, nil
			}
		}
	}
	if errors.Is(err, token.ErrDamaged) {
		return &token.Token{ID: a.id, Damaged: true}, nil
	}
	return nil, err
}

// checkDigests returns ErrTaken if another token in the replica has one of the token's secrets.
// Only imported secrets can be chosen by an admin; for these, the transaction makes sure.
func (a *attempt) checkDigests(tok *token.Token) error {
	if tok == nil {
		return nil
	}
	for _, d := range tok.Digests() {
		if id, err := a.IDOf(d); err == nil && id != tok.ID {
			return tokenstore.ErrTaken
		}
	}
	return nil
}

// putEnded makes sure that the token's secret was not taken out of service, and adds the secret
// that the change takes out of service. If that is already stored, the earlier time stays.
func (a *attempt) putEnded(ctx context.Context, t *transaction, old *token.Token, changed tokenstore.Change) error {
	if tok := changed.Token; tok != nil && (old == nil || old.Digest != tok.Digest) {
		t.condition(t.keys.ended(tok.Digest), 0)
	}
	if changed.Ended == nil {
		return nil
	}
	key := t.keys.ended(changed.Ended.Digest)
	records, err := a.engine.Read(ctx, key)
	if err != nil {
		return a.unavailable("the shared store can't be read", err)
	}
	found := records[0].Revision != 0
	if found {
		var ended tokenstore.EndedSecret
		if record, err := a.seal.open(key, records[0].Value); err == nil {
			ended, _ = tokenstore.DecodeEnded(changed.Ended.Digest, record)
		}
		if !changed.Ended.At.Before(ended.At) {
			return nil
		}
	} else if changed.EndsKnown {
		return nil
	}
	t.condition(key, records[0].Revision)
	t.put(key, tokenstore.EncodeEnded(*changed.Ended))
	return nil
}

// commit commits the transaction. If its outcome is unknown, commit looks for the transaction's
// audit record, if there is one. If a condition didn't hold, commit returns the conditions'
// records.
func (b *Backend) commit(ctx context.Context, t *transaction, audit string) (revision int64, failed []Record,
	err error) {
	result, err := b.engine.Commit(ctx, t.conditions, t.writes)
	switch {
	case err == nil && result.Committed:
		return result.Revision, nil, nil
	case err == nil:
		return 0, result.Current, nil
	case errors.Is(err, ErrNotCommitted):
		return 0, nil, b.unavailable("nothing was changed", err)
	}
	if audit != "" {
		// The context may be done because the commit took too long. One more read is worth it.
		reading, cancel := b.deadline()
		defer cancel()
		records, readErr := b.engine.Read(reading, audit)
		if readErr == nil && records[0].Revision != 0 {
			return records[0].Revision, nil, nil
		}
	}
	return 0, nil, b.unavailable("the shared store didn't confirm the change, which may take effect or not", err)
}

// explain returns why a condition didn't hold, or nil if another attempt can succeed.
func (a *attempt) explain(ctx context.Context, k keys, failed []Record, changed tokenstore.Change) error {
	a.expired = 0 // unless the request is still there
	for _, record := range failed {
		if record.Revision == 0 {
			continue
		}
		value, _ := a.seal.open(record.Key, record.Value)
		switch tok := changed.Token; {
		case tok != nil && record.Key == k.digest(tok.Digest) && !bytes.Equal(value, a.id[:]):
			return tokenstore.ErrTaken
		case tok != nil && record.Key == k.ended(tok.Digest):
			ended, _ := tokenstore.DecodeEnded(tok.Digest, value)
			return &tokenstore.EndedError{At: ended.At}
		case changed.Request != nil && record.Key == k.request(changed.Request.Key):
			stored, err := tokenstore.DecodeRequest(changed.Request.Key, value)
			if err != nil {
				return err
			}
			if changed.Request.Time.Sub(stored.Time) < tokenstore.RequestRetention {
				// The caller reads the token that the request created.
				if err := a.settle(ctx, record.Revision); err != nil {
					return a.unavailable("this gate has not stored the request that this one repeats", err)
				}
				return tokenstore.ErrRepeated
			}
			a.expired = record.Revision
		}
	}
	return nil
}

// transaction collects the conditions and writes of a change.
type transaction struct {
	sealer
	keys       keys
	conditions []Condition
	writes     []Write
}

func (t *transaction) condition(key string, revision int64) {
	for _, c := range t.conditions {
		if c.Key == key {
			return
		}
	}
	t.conditions = append(t.conditions, Condition{key, revision})
}

func (t *transaction) put(key string, record []byte) {
	t.writes = append(t.writes, Write{Key: key, Value: t.seal(key, record)})
}

func (t *transaction) remove(key string) { t.writes = append(t.writes, Write{Key: key}) }

// putToken writes a token, or deletes it if tok is nil, together with the records that keep
// imported secrets unique.
func (t *transaction) putToken(id token.ID, old, tok *token.Token) {
	if tok == nil {
		t.remove(t.keys.token(id))
	} else {
		t.put(t.keys.token(id), token.EncodeToken(tok))
	}
	if tok != nil && tok.Format == token.FormatImported && (old == nil || old.Digest != tok.Digest) {
		t.condition(t.keys.digest(tok.Digest), 0)
		t.put(t.keys.digest(tok.Digest), id[:])
	}
	if old == nil || old.Damaged {
		return
	}
	for _, d := range old.Digests() {
		if tok != nil {
			if _, kept := tok.SecretOf(d); kept {
				continue
			}
		}
		t.remove(t.keys.digest(d))
	}
}

// putAudit writes an audit entry and returns its key.
func (t *transaction) putAudit(sequence uint64, entry tokenstore.AuditEntry) (key []byte) {
	key = auditKey(entry.Time, sequence)
	t.condition(t.keys.audit(key), 0)
	t.put(t.keys.audit(key), tokenstore.EncodeAuditEntry(key, entry))
	t.put(t.keys.change(), []byte(t.keys.audit(key)))
	return key
}

// auditKey returns an audit record's key, as the replica stores it.
func auditKey(at time.Time, sequence uint64) []byte {
	key := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro())^(1<<63))
	return binary.BigEndian.AppendUint64(key, sequence)
}

// sequence makes the sequence numbers of this process's audit entries. They grow with the time,
// so that entries with the same time are mostly in the order in which they were made, and end
// with random bits, because other nodes make numbers at the same time.
type sequence struct {
	mu   sync.Mutex
	last uint64
}

// randomBits is the number of random bits in a sequence number.
const randomBits = 12

func (s *sequence) next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := uint64(time.Now().UnixMicro())<<randomBits | uint64(rand.N(1<<randomBits)) //nolint:gosec // spreads numbers
	s.last = max(next, s.last+1)
	return s.last
}
