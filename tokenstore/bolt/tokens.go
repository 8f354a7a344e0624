package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Token implements tokenstore.Backend.
func (b *Backend) Token(id token.ID) (token *token.Token, err error) {
	err = b.viewNow(func(tx *bbolt.Tx) error {
		token, err = readToken(tx, id)
		return err
	})
	return token, err
}

// IDOf implements tokenstore.Backend.
func (b *Backend) IDOf(digest token.Digest) (id token.ID, err error) {
	err = b.viewNow(func(tx *bbolt.Tx) error {
		entry := tx.Bucket(digestsBucket).Get(digest[:])
		if entry == nil {
			return tokenstore.ErrNotFound
		}
		id, err = entryID(entry)
		return err
	})
	return id, err
}

// digestEntry returns a token record's entry in the digests bucket.
func digestEntry(id token.ID, record []byte) []byte {
	sum := tokenstore.RecordChecksum(record)
	return append(id[:], sum[:]...)
}

// entryLength is the length of an entry in the digests bucket.
const entryLength = len(token.ID{}) + 4

func entryID(entry []byte) (id token.ID, err error) {
	if len(entry) != entryLength {
		return id, fmt.Errorf("%w: its digest entry has the wrong length", token.ErrDamaged)
	}
	copy(id[:], entry)
	return id, nil
}

// lostRecord is stored for a token that a rebuild couldn't copy.
var lostRecord = []byte{0}

// errLost is returned for a token whose record is lostRecord.
var errLost = fmt.Errorf("%w: it was lost when the token store was rebuilt; delete it, or restore a backup",
	token.ErrDamaged)

// readToken returns a token after checking that its record is current: the token's digest
// entry must contain the record's checksum.
func readToken(tx *bbolt.Tx, id token.ID) (*token.Token, error) {
	record := tx.Bucket(tokensBucket).Get(id[:])
	if record == nil {
		return nil, tokenstore.ErrNotFound
	}
	if bytes.Equal(record, lostRecord) {
		return nil, errLost
	}
	tok, err := token.DecodeToken(id, record)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tx.Bucket(digestsBucket).Get(tok.Digest[:]), digestEntry(id, record)) {
		return nil, fmt.Errorf("%w: it doesn't match its digest entry", token.ErrDamaged)
	}
	return tok, nil
}

// apply makes one change. It returns an error only if reading or writing the file fails, and
// sets p.err if the change is refused.
func apply(tx *bbolt.Tx, p *pending) error {
	p.token, p.err, p.damaged = nil, nil, false
	old, err := readToken(tx, p.id)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		old = nil
	case errors.Is(err, token.ErrDamaged):
		old = &token.Token{ID: p.id, Damaged: true}
	case err != nil:
		p.err = err
		return nil
	}
	changed, err := p.change(old)
	token := changed.Token
	if err == nil && token != nil && old != nil && old.Damaged {
		err = errLost
	}
	if err == nil && token != nil {
		err = checkDigests(tx, token)
		if err == nil {
			err = checkEnded(tx, old, token)
		}
	}
	if err == nil && changed.Request != nil {
		err = checkRequest(tx, changed.Request)
	}
	if err != nil {
		p.err = err
		return nil
	}
	p.token = token
	if old != nil {
		if err := remove(tx, old, token == nil, p.now); err != nil {
			return err
		}
		p.damaged = old.Damaged
	}
	if token != nil {
		if err := put(tx, token); err != nil {
			return err
		}
	}
	if changed.Ended != nil {
		if err := putEnded(tx, *changed.Ended, changed.EndsKnown); err != nil {
			return err
		}
	}
	if changed.Request != nil {
		if err := putRequest(tx, changed.Request); err != nil {
			return err
		}
	}
	return appendAudit(tx, changed.Audit)
}

// checkDigests returns an error if another token has one of the token's digests.
func checkDigests(tx *bbolt.Tx, token *token.Token) error {
	for _, digest := range token.Digests() {
		entry := tx.Bucket(digestsBucket).Get(digest[:])
		if entry != nil && !bytes.HasPrefix(entry, token.ID[:]) {
			return tokenstore.ErrTaken
		}
	}
	return nil
}

// remove deletes a token, and its usage if withUsage is set.
func remove(tx *bbolt.Tx, old *token.Token, withUsage bool, now time.Time) error {
	if old.Damaged {
		return removeDamaged(tx, old.ID, now)
	}
	err := errors.Join(
		tx.Bucket(tokensBucket).Delete(old.ID[:]),
		tx.Bucket(createdBucket).Delete(orderKey(tokenstore.OrderCreated, old)),
		tx.Bucket(expiresBucket).Delete(orderKey(tokenstore.OrderExpires, old)))
	for _, digest := range old.Digests() {
		err = errors.Join(err, tx.Bucket(digestsBucket).Delete(digest[:]))
	}
	if withUsage {
		err = errors.Join(err, removeUsage(tx, old.ID))
	}
	return err
}

// removeDamaged deletes a token whose record can't be read. To find the token's index entries,
// it scans the indexes, which takes a tenth of a second for a million tokens.
//
// It also stores the token's secrets as ended, because the token may have been imported, in
// which case Mollymawk would still accept them.
func removeDamaged(tx *bbolt.Tx, id token.ID, now time.Time) error {
	err := errors.Join(tx.Bucket(tokensBucket).Delete(id[:]), removeUsage(tx, id))
	for _, index := range []struct {
		bucket []byte
		match  func(key, value []byte) bool
	}{
		{createdBucket, func(key, _ []byte) bool { return bytes.HasSuffix(key, id[:]) }},
		{expiresBucket, func(key, _ []byte) bool { return bytes.HasSuffix(key, id[:]) }},
		{digestsBucket, func(_, value []byte) bool { return bytes.HasPrefix(value, id[:]) }},
	} {
		var keys [][]byte
		bucket := tx.Bucket(index.bucket)
		err = errors.Join(err, bucket.ForEach(func(key, value []byte) error {
			if index.match(key, value) {
				keys = append(keys, bytes.Clone(key))
			}
			return nil
		}))
		for _, key := range keys {
			err = errors.Join(err, bucket.Delete(key))
			if len(key) == len(token.Digest{}) {
				err = errors.Join(err, putEnded(tx, tokenstore.EndedSecret{Digest: token.Digest(key), At: now}, false))
			}
		}
	}
	return err
}

func put(tx *bbolt.Tx, tok *token.Token) error { return putRecord(tx, tok, token.EncodeToken(tok)) }

// putRecord stores a token and its record.
func putRecord(tx *bbolt.Tx, tok *token.Token, record []byte) error {
	err := errors.Join(
		tx.Bucket(tokensBucket).Put(tok.ID[:], record),
		tx.Bucket(createdBucket).Put(orderKey(tokenstore.OrderCreated, tok), nil),
		tx.Bucket(expiresBucket).Put(orderKey(tokenstore.OrderExpires, tok), nil))
	entry := digestEntry(tok.ID, record)
	for _, digest := range tok.Digests() {
		err = errors.Join(err, tx.Bucket(digestsBucket).Put(digest[:], entry))
	}
	return err
}
