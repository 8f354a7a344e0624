package bolt

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Token implements tokenstore.Backend.
func (b *Backend) Token(id token.ID) (token *token.Token, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		token, err = vouched(tx, id)
		return err
	})
	return token, err
}

// IDOf implements tokenstore.Backend.
func (b *Backend) IDOf(digest token.Digest) (id token.ID, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		entry := tx.Bucket(digestsBucket).Get(digest[:])
		if entry == nil {
			return tokenstore.ErrNotFound
		}
		id, err = entryID(entry)
		return err
	})
	return id, err
}

// digestEntry is what is kept in digests for a token's record.
func digestEntry(id token.ID, record []byte) []byte {
	sum := tokenstore.RecordChecksum(record)
	return append(id[:], sum[:]...)
}

func entryID(entry []byte) (id token.ID, err error) {
	if len(entry) != len(digestEntry(id, nil)) {
		return id, fmt.Errorf("%w: the entry of its digest is too short or too long", token.ErrDamaged)
	}
	copy(id[:], entry)
	return id, nil
}

// vouched reads a token and makes sure that its record is the newest.
func vouched(tx *bbolt.Tx, id token.ID) (*token.Token, error) {
	record := tx.Bucket(tokensBucket).Get(id[:])
	if record == nil {
		return nil, tokenstore.ErrNotFound
	}
	tok, err := token.DecodeToken(id, record)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tx.Bucket(digestsBucket).Get(tok.Digest[:]), digestEntry(id, record)) {
		return nil, fmt.Errorf("%w: it isn't the record that its digest is kept for", token.ErrDamaged)
	}
	return tok, nil
}

// apply makes one change. The error it returns is about the file; what the change
// itself says is p.err.
func apply(tx *bbolt.Tx, p *pending) error {
	p.token, p.err = nil, nil
	old, err := vouched(tx, p.id)
	if errors.Is(err, tokenstore.ErrNotFound) {
		old = nil
	} else if err != nil {
		p.err = err
		return nil
	}
	changed, err := p.change(old)
	token := changed.Token
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
		if err := remove(tx, old, token == nil); err != nil {
			return err
		}
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

// checkDigests makes sure that no other token is found by the token's digests.
func checkDigests(tx *bbolt.Tx, token *token.Token) error {
	for _, digest := range token.Digests() {
		entry := tx.Bucket(digestsBucket).Get(digest[:])
		if entry != nil && !bytes.HasPrefix(entry, token.ID[:]) {
			return tokenstore.ErrTaken
		}
	}
	return nil
}

// remove deletes a token from the file, and its usage if withUsage is set.
func remove(tx *bbolt.Tx, old *token.Token, withUsage bool) error {
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

func put(tx *bbolt.Tx, tok *token.Token) error {
	record := token.EncodeToken(tok)
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
