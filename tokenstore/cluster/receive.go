package cluster

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// received is what a node learns from one or more commits.
type received struct {
	// first is set if the replica has never been complete. No token is served yet, so nothing
	// needs to take effect before it is written.
	first  bool
	update bolt.Update
	tokens []token.ID
	// notes are the changes that this process didn't make.
	notes []tokenstore.ChangeNote
	// newest is the key of the newest change's audit record, or "".
	newest string
}

// receive puts a commit into force.
func (b *Backend) receive(c Commit, k keys) error {
	var r received
	var confirms []Record
	var seen anchor
	switched := false
	for _, w := range c.Writes {
		if w.Key == storeKey && w.Value == nil {
			return ErrLostChanges // somebody has deleted everything, not each token
		}
	}
	for _, w := range c.Writes {
		if w.Value != nil {
			seen.see(Record{w.Key, w.Value, c.Revision})
		}
		switch {
		case w.Key == storeKey:
			switched = true
		case strings.HasPrefix(w.Key, nodePrefix):
			b.readPresence(Record{w.Key, w.Value, c.Revision})
		case strings.HasPrefix(w.Key, confirmPrefix):
			confirms = append(confirms, Record{w.Key, w.Value, c.Revision})
		case strings.HasPrefix(w.Key, valuePrefix):
			b.values.Set(strings.TrimPrefix(w.Key, valuePrefix), b.openValue(Record{w.Key, w.Value, c.Revision}))
		default:
			b.read(&r, k, Record{w.Key, w.Value, c.Revision})
		}
	}
	b.notify(&r)
	b.writer.add(r.update, func(n *note) {
		if n.Revision == 0 {
			return // the node must list everything first
		}
		n.Revision = c.Revision
		if seen.Revision != 0 {
			n.Anchor = seen
		}
		if c.writes(r.newest) { // not if somebody has copied only this key
			n.LastChange, n.LastRevision = r.newest, c.Revision
		}
	})
	b.seen.reach(c.Revision)
	for _, record := range confirms {
		b.readConfirm(record)
	}
	if switched {
		return errSwitched
	}
	return nil
}

// writes reports whether the commit writes a record.
func (c Commit) writes(key string) bool {
	return slices.ContainsFunc(c.Writes, func(w Write) bool { return w.Key == key && w.Value != nil })
}

// notify makes the Store read changed tokens again.
func (b *Backend) notify(r *received) {
	noted := make(map[token.ID]bool, len(r.notes))
	for _, note := range r.notes {
		noted[note.ID] = true
	}
	for _, id := range r.tokens {
		if !noted[id] {
			r.notes = append(r.notes, tokenstore.ChangeNote{ID: id})
		}
	}
	if len(r.notes) > 0 {
		b.changed(r.notes)
	}
}

// read adds a record of the generation to r. A token takes effect at once. Records that can't be
// read are logged; a token's makes the token damaged.
func (b *Backend) read(r *received, k keys, record Record) {
	part, rest, ok := k.parse(record.Key)
	if !ok {
		b.readTime(r, record)
		return
	}
	value := record.Value
	var err error
	if value != nil {
		value, err = b.seal.open(record.Key, value)
	}
	switch {
	case part == changePart:
		if err == nil {
			r.newest = string(value)
		}
	case part == usagePart:
		if err == nil {
			err = b.readUsage(r, rest, value)
		}
	case tables[part] != 0:
		err = errors.Join(err, b.readShared(r, part, rest, value, err, record.Revision))
	}
	if err != nil {
		b.logger.Error("a record in the shared store can't be read", zap.String("key", record.Key), zap.Error(err))
	}
}

// readShared adds a record of one of the replica's tables. readErr is the reason why the value
// can't be read, or nil.
func (b *Backend) readShared(r *received, part, rest string, value []byte, readErr error, revision int64) error {
	key, ok := replicaKey(part, rest)
	if !ok {
		return fmt.Errorf("%w: its key is malformed", token.ErrDamaged)
	}
	if part == tokenPart {
		return b.readToken(r, token.ID(key), value, readErr, revision)
	}
	if readErr != nil {
		return nil // already reported
	}
	if part == auditPart && value != nil {
		entry, err := tokenstore.DecodeAuditEntry(key, value)
		if err != nil {
			return err
		}
		if at, own := b.own.take(rest); own {
			r.update.Times.Recorded = at
		} else if !r.first && entry.TokenID != (token.ID{}) {
			r.notes = append(r.notes, tokenstore.ChangeNote{Action: entry.Action, ID: entry.TokenID})
		}
	}
	r.update.Records = append(r.update.Records, bolt.Record{Table: tables[part], Key: key, Value: value})
	return nil
}

// readToken puts a token's record into force and adds it to r.
func (b *Backend) readToken(r *received, id token.ID, value []byte, readErr error, revision int64) error {
	state := overlaid{revision: revision, err: readErr}
	if value != nil && readErr == nil {
		state.token, state.err = token.DecodeToken(id, value)
	}
	if state.err == nil && state.token != nil && !r.first {
		known, err := b.Token(id)
		state.err = b.checkVersion(state.token, known, err)
	}
	if state.err != nil {
		value = []byte{} // not a record, so the token becomes damaged in the replica too
	}
	b.inForce(r, id, state)
	r.update.Records = append(r.update.Records, bolt.Record{Table: bolt.TokensTable, Key: id[:], Value: value})
	return state.err
}

// inForce puts a token's state into force.
func (b *Backend) inForce(r *received, id token.ID, state overlaid) {
	if !r.first {
		b.overlay.set(id, state)
		r.tokens = append(r.tokens, id)
	}
}

// checkVersion returns an error if records are signed and this node knows a newer version of the
// token. Then somebody has put back an old record, which may undo a revocation. The version of a
// damaged token isn't known, so it stays damaged. known and knownErr are what this node knows.
func (b *Backend) checkVersion(tok, known *token.Token, knownErr error) error {
	switch {
	case !b.seal.sealed() || b.accepting.Load():
		return nil
	case isDamaged(knownErr):
		return fmt.Errorf("%w: it was damaged before, so it is not known whether version %d is its newest",
			token.ErrDamaged, tok.Version)
	case knownErr == nil && tok.Version < known.Version:
		return fmt.Errorf("%w: an older version of the token, %d, has replaced version %d", token.ErrDamaged,
			tok.Version, known.Version)
	}
	return nil
}

// readTime adds a time that the nodes share.
func (b *Backend) readTime(r *received, record Record) {
	if record.Key != toldKey && record.Key != backupKey || record.Value == nil {
		return
	}
	at, err := decodeTime(b.seal, record.Key, record.Value)
	if err != nil {
		return
	}
	switch record.Key {
	case toldKey:
		r.update.Times.Announced = at
	case backupKey:
		r.update.Times.BackedUp = at
	}
}

func encodeTime(seal sealer, key string, t time.Time) []byte {
	return seal.seal(key, binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro())))
}

func decodeTime(seal sealer, key string, value []byte) (time.Time, error) {
	record, err := seal.open(key, value)
	if err != nil || len(record) != 8 {
		return time.Time{}, fmt.Errorf("%w: the time %q", token.ErrDamaged, key)
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(record))).UTC(), nil
}

// ownChanges holds the keys of the audit records of this process's changes until the watch has
// delivered them, with the times to record. The zero value is empty.
type ownChanges struct {
	mu    sync.Mutex
	times map[string]time.Time
}

// add adds a change. at is the time to record, or zero.
func (o *ownChanges) add(key []byte, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.times == nil {
		o.times = make(map[string]time.Time)
	}
	o.times[hex.EncodeToString(key)] = at
}

// take removes a key. It returns its time and reports whether it was there.
func (o *ownChanges) take(key string) (at time.Time, own bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, own = o.times[key]
	delete(o.times, key)
	return at, own
}
