package tokenstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
)

// A create may be asked for twice, because its answer was lost. With a key of the
// client's (draft-ietf-httpapi-idempotency-key-header) the second makes no second
// token.

// RequestRetention is how long a request is kept to know a repeat by.
const RequestRetention = 24 * time.Hour

var (
	// ErrRepeated says that a request with this key has been carried out already.
	ErrRepeated = errors.New("a request with this key has been carried out already")
	// ErrRepeatDiffers says that a key was used for another request before.
	ErrRepeatDiffers = errors.New("the key was used for another request")
)

// Request is what a repeat is known by. The zero Request is never a repeat.
type Request struct {
	// Key is the client's name for the request.
	Key string
	// Body is what the request asks for.
	Body []byte
}

// KeptRequest is a request that made a token.
type KeptRequest struct {
	// Key is of the actor and the request's key, Body of what it asked for.
	Key, Body token.Digest
	// ID is the token's. Time is when it was made,
	// by the time that is known to have passed.
	ID   token.ID
	Time time.Time
}

// keep returns what is kept of a request for a token, or nil.
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

// repeated returns the token that the request has made before, or ErrNotFound if
// it is no repeat. A token that has been deleted since is [token.ErrConflict].
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
		return nil,
			fmt.Errorf(
				"%w: the token that this request made, %s, has been deleted since; use another key to make a new one",
				token.ErrConflict, kept.ID)
	}
	if err != nil {
		return nil, readError(err)
	}
	return tok, nil
}
