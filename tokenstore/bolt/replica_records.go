package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Table is a kind of shared record.
type Table uint8

const (
	// TokensTable holds records from [token.EncodeToken]. The key is the token's ID.
	TokensTable Table = iota + 1
	// EndedTable holds records from [tokenstore.EncodeEnded]. The key is the digest.
	EndedTable
	// AuditTable holds records from [tokenstore.EncodeAuditEntry]. The key consists of the
	// entry's position: the time in microseconds since 1970 with its sign bit inverted, and the
	// sequence number, 8 bytes each, big endian.
	AuditTable
	// RequestsTable holds records from [tokenstore.EncodeRequest]. The key is the request's key.
	RequestsTable
)

// Record is a shared record.
type Record struct {
	Table Table
	// Key and Value must not be modified until Follow returns. A nil Value deletes the record.
	Key, Value []byte
}

func (t Table) bucket() []byte {
	switch t {
	case TokensTable:
		return tokensBucket
	case EndedTable:
		return endedBucket
	case AuditTable:
		return auditBucket
	case RequestsTable:
		return requestsBucket
	}
	return nil
}

// Records calls yield for each stored entry of a table whose key is greater than after, in key
// order, until yield returns false. The slices are valid only during the call, which must not
// call the backend. A damaged token's value is not a valid record.
func (b *Backend) Records(table Table, after []byte, yield func(key, value []byte) bool) error {
	return b.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(table.bucket())
		if bucket == nil {
			return nil
		}
		cursor := bucket.Cursor()
		for key, value := seekAfter(cursor, after); key != nil && yield(key, value); {
			key, value = cursor.Next()
		}
		return nil
	})
}

// followRecords makes changes to a replica's shared records. It returns by how much the number of
// damaged tokens has grown.
func followRecords(tx *bbolt.Tx, records []Record) (damaged int, err error) {
	tokens, err := newTokenFollower(tx, records)
	if err != nil {
		return 0, err
	}
	for _, record := range records {
		switch record.Table {
		case TokensTable:
			err = tokens.follow(record.Key, record.Value)
		case EndedTable:
			err = followEnded(tx, record.Key, record.Value)
		case AuditTable:
			err = followAudit(tx, record.Key, record.Value)
		case RequestsTable:
			err = followRequest(tx, record.Key, record.Value)
		default:
			err = fmt.Errorf("unknown table %d", record.Table)
		}
		if err != nil {
			return 0, err
		}
	}
	return tokens.damaged, nil
}

func followEnded(tx *bbolt.Tx, key, value []byte) error {
	if len(key) != len(token.Digest{}) {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(endedBucket)
	if err != nil {
		return err
	}
	if value == nil {
		return bucket.Delete(key)
	}
	if _, err := tokenstore.DecodeEnded(token.Digest(key), value); err != nil {
		return nil
	}
	return bucket.Put(key, value)
}

func followAudit(tx *bbolt.Tx, key, value []byte) error {
	if len(key) != auditKeyLength {
		return nil
	}
	if value == nil {
		return tx.Bucket(auditBucket).Delete(key)
	}
	if _, err := tokenstore.DecodeAuditEntry(key, value); err != nil {
		return nil
	}
	return tx.Bucket(auditBucket).Put(key, value)
}

func followRequest(tx *bbolt.Tx, key, value []byte) error {
	if len(key) != len(token.Digest{}) {
		return nil
	}
	request, err := tokenstore.DecodeRequest(token.Digest(key), value)
	if value != nil && err != nil {
		return nil
	}
	bucket := tx.Bucket(requestsBucket)
	if old, err := tokenstore.DecodeRequest(token.Digest(key), bucket.Get(key)); err == nil {
		if err := tx.Bucket(requestedBucket).Delete(requestedKey(&old)); err != nil {
			return err
		}
	}
	if value == nil {
		return bucket.Delete(key)
	}
	return putRequestRecord(tx, &request, value)
}

// tokenFollower changes a replica's tokens in one transaction.
type tokenFollower struct {
	tx *bbolt.Tx
	// lost holds the index entries of the damaged tokens that the transaction changes.
	lost map[token.ID][]indexEntry
	// damaged is by how much the number of damaged tokens has grown.
	damaged int
}

// indexEntry is an entry in one of the buckets created, expires and digests.
type indexEntry struct{ bucket, key []byte }

// newTokenFollower prepares to change the tokens in records. Finding the index entries of damaged
// tokens takes a scan of the indexes, so this is done once, for all of them together.
func newTokenFollower(tx *bbolt.Tx, records []Record) (*tokenFollower, error) {
	f := &tokenFollower{tx: tx, lost: make(map[token.ID][]indexEntry)}
	for _, record := range records {
		if record.Table != TokensTable || !isID(record.Key) {
			continue
		}
		id := token.ID(record.Key)
		if _, err := readToken(tx, id); errors.Is(err, token.ErrDamaged) {
			f.lost[id] = nil
		}
	}
	if len(f.lost) == 0 {
		return f, nil
	}
	for _, index := range []struct {
		bucket []byte
		id     func(key, value []byte) []byte
	}{
		{createdBucket, func(key, _ []byte) []byte { return key[min(len(key), orderTimeLength):] }},
		{expiresBucket, func(key, _ []byte) []byte { return key[min(len(key), orderTimeLength):] }},
		{digestsBucket, func(_, value []byte) []byte { return value[:min(len(value), len(token.ID{}))] }},
	} {
		err := tx.Bucket(index.bucket).ForEach(func(key, value []byte) error {
			id := index.id(key, value)
			if len(id) != len(token.ID{}) {
				return nil
			}
			if entries, ok := f.lost[token.ID(id)]; ok {
				f.lost[token.ID(id)] = append(entries, indexEntry{index.bucket, bytes.Clone(key)})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// isID reports whether a key is a token's ID.
func isID(key []byte) bool {
	_, err := token.ParseID(string(key))
	return err == nil
}

// follow replaces a token's record, or deletes the token if the record is nil.
func (f *tokenFollower) follow(key, record []byte) error {
	if !isID(key) {
		return nil
	}
	id := token.ID(key)
	if record == nil {
		return errors.Join(f.remove(id), removeUsage(f.tx, id), removeElsewhere(f.tx, id))
	}
	tok, err := token.DecodeToken(id, record)
	if err != nil {
		return f.damage(id)
	}
	if err := f.remove(id); err != nil {
		return err
	}
	for _, digest := range tok.Digests() {
		if err := f.takeDigest(digest); err != nil {
			return err
		}
	}
	return putRecord(f.tx, tok, record)
}

// takeDigest makes a digest available for another token. The token that has it becomes damaged.
func (f *tokenFollower) takeDigest(digest token.Digest) error {
	owner, err := entryID(f.tx.Bucket(digestsBucket).Get(digest[:]))
	if err != nil {
		return nil // no token has it
	}
	if _, err := readToken(f.tx, owner); err != nil {
		return nil // the owner is already damaged
	}
	return f.damage(owner)
}

// entries returns a token's index entries.
func (f *tokenFollower) entries(id token.ID) []indexEntry {
	tok, err := readToken(f.tx, id)
	if err != nil {
		return f.lost[id]
	}
	entries := []indexEntry{
		{createdBucket, orderKey(tokenstore.OrderCreated, tok)},
		{expiresBucket, orderKey(tokenstore.OrderExpires, tok)},
	}
	for _, digest := range tok.Digests() {
		entries = append(entries, indexEntry{digestsBucket, bytes.Clone(digest[:])})
	}
	return entries
}

// remove deletes a token, but not its usage.
func (f *tokenFollower) remove(id token.ID) error {
	for _, entry := range f.entries(id) {
		bucket := f.tx.Bucket(entry.bucket)
		if bytes.Equal(entry.bucket, digestsBucket) && !bytes.HasPrefix(bucket.Get(entry.key), id[:]) {
			continue // another token has this digest now
		}
		if err := bucket.Delete(entry.key); err != nil {
			return err
		}
	}
	if f.isLost(id) {
		f.damaged--
	}
	delete(f.lost, id)
	return f.tx.Bucket(tokensBucket).Delete(id[:])
}

func (f *tokenFollower) isLost(id token.ID) bool {
	return bytes.Equal(f.tx.Bucket(tokensBucket).Get(id[:]), lostRecord)
}

// damage makes a token damaged. The token keeps its positions and its secrets.
func (f *tokenFollower) damage(id token.ID) error {
	entries := f.entries(id)
	for _, order := range []tokenstore.Order{tokenstore.OrderCreated, tokenstore.OrderExpires} {
		bucket := orderBucket(order)
		if !slices.ContainsFunc(entries, func(e indexEntry) bool { return bytes.Equal(e.bucket, bucket) }) {
			entry := indexEntry{bucket, orderKey(order, &token.Token{ID: id})}
			entries = append(entries, entry)
			if err := f.tx.Bucket(bucket).Put(entry.key, nil); err != nil {
				return err
			}
		}
	}
	digests := f.tx.Bucket(digestsBucket)
	for _, entry := range entries {
		if bytes.Equal(entry.bucket, digestsBucket) && bytes.HasPrefix(digests.Get(entry.key), id[:]) {
			// With the old checksum, an outdated record could become valid again.
			if err := digests.Put(entry.key, digestEntry(id, nil)); err != nil {
				return err
			}
		}
	}
	if !f.isLost(id) {
		f.damaged++
	}
	f.lost[id] = entries
	return f.tx.Bucket(tokensBucket).Put(id[:], lostRecord)
}
