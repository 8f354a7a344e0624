package tokenstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
)

// A client may repeat a create request if it didn't receive the response. If the client sends
// an idempotency key (draft-ietf-httpapi-idempotency-key-header), the repeat doesn't create a
// second token.

// RequestRetention is how long a request is stored so that a repeat can be recognized.
const RequestRetention = 24 * time.Hour

var (
	// ErrRepeated means that a request with the same idempotency key has already succeeded.
	ErrRepeated = errors.New("a request with this idempotency key has already succeeded")
	// ErrRepeatDiffers means that the idempotency key was used for a different request.
	ErrRepeatDiffers = errors.New("the idempotency key was used for a different request")
)

// Request identifies a request so that a repeat can be recognized. The zero Request is never
// treated as a repeat.
type Request struct {
	// Key is the client's idempotency key for the request.
	Key string
	// Body is the content of the request.
	Body []byte
}

// KeptRequest is the stored form of a request that created a token.
type KeptRequest struct {
	// Key is the digest of the actor and the idempotency key. Body is the digest of the
	// request's body.
	Key, Body token.Digest
	// ID is the token's ID. Time is when the token was created, according to the elapsed time.
	ID   token.ID
	Time time.Time
}

// keep returns the KeptRequest for a request that created a token, or nil if the request has
// no key.
func (r Request) keep(actor Actor, id token.ID, now time.Time) *KeptRequest {
	if r.Key == "" {
		return nil
	}
	return &KeptRequest{
		Key:  sha256.Sum256([]byte(actor.Name + "\x00" + r.Key)),
		Body: sha256.Sum256(r.Body),
		ID:   id,
		Time: now,
	}
}

// repeated returns the token created by the original request, or ErrNotFound if the request
// isn't a repeat. If that token has since been deleted, the error is [token.ErrConflict].
func (s *Store) repeated(request *KeptRequest) (*token.Token, error) {
	if err := s.settleChanges(); err != nil {
		return nil, readError(err)
	}
	kept, err := s.backend.Request(request.Key)
	if err != nil {
		return nil, readError(err)
	}
	if request.Time.Sub(kept.Time) >= RequestRetention {
		return nil, ErrNotFound
	}
	if kept.Body != request.Body {
		return nil, ErrRepeatDiffers
	}
	tok, err := s.backend.Token(kept.ID)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: token %s, which this request created, has since been deleted; "+
			"use another idempotency key to create a new one", token.ErrConflict, kept.ID)
	}
	if err != nil {
		return nil, readError(err)
	}
	return tok, nil
}
