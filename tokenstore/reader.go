package tokenstore

import (
	"strings"

	"github.com/mollygate/mollygate/token"
)

// Reader decodes many records one after the other, for a backend that goes through
// all of them. What it returns is valid until its next call, and only as long as
// the memory of the record is: its texts are pieces of the record. A Reader is for
// one goroutine.
type Reader struct {
	token token.Token
	id    token.ID
}

// Token reads the token kept under id. The error wraps [token.ErrDamaged].
func (r *Reader) Token(id token.ID, record []byte) (*token.Token, error) {
	if err := r.token.Decode(id, record, true); err != nil {
		return nil, err
	}
	return &r.token, nil
}

// Usage reads the usage kept under id. The error wraps [token.ErrDamaged].
func (r *Reader) Usage(id token.ID, record []byte) (Usage, error) {
	r.id = id // whose memory is the Reader's
	return decodeUsage(r.id[:], record, true, false)
}

// Clone returns a usage, without its days, that shares no memory with u.
func (u Usage) Clone() Usage {
	u.Last, u.Previous, u.Days = u.Last.clone(), u.Previous.clone(), nil
	return u
}

func (u LastUse) clone() LastUse {
	u.IP, u.UserAgent, u.Route = strings.Clone(u.IP), strings.Clone(u.UserAgent), strings.Clone(u.Route)
	return u
}

// Clone returns a token with its usage that shares no memory with t.
func (t TokenUsage) Clone() TokenUsage {
	return TokenUsage{Token: t.Token.Clone(), Usage: t.Usage.Clone()}
}
