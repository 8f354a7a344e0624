package tokenstore

import (
	"strings"

	"github.com/mollygate/mollygate/token"
)

// Reader decodes records one after another, for a backend that scans all of its records. Its
// results share memory with the record and are valid until the next call. A Reader must not be
// used concurrently.
type Reader struct {
	token token.Token
	id    token.ID
}

// Token decodes the token stored under id. The error wraps [token.ErrDamaged].
func (r *Reader) Token(id token.ID, record []byte) (*token.Token, error) {
	if err := r.token.Decode(id, record, true); err != nil {
		return nil, err
	}
	return &r.token, nil
}

// Usage decodes the usage stored under id, without its days. The error wraps
// [token.ErrDamaged].
func (r *Reader) Usage(id token.ID, record []byte) (Usage, error) {
	r.id = id // avoids an allocation
	return decodeUsage(r.id[:], record, true, false)
}

// Clone returns a copy of u without its days. The copy shares no memory with u.
func (u Usage) Clone() Usage {
	u.Last, u.Previous, u.Days = u.Last.clone(), u.Previous.clone(), nil
	return u
}

func (u LastUse) clone() LastUse {
	u.IP, u.UserAgent, u.Route = strings.Clone(u.IP), strings.Clone(u.UserAgent), strings.Clone(u.Route)
	return u
}

// Clone returns a copy of t that shares no memory with t.
func (t TokenUsage) Clone() TokenUsage {
	return TokenUsage{Token: t.Token.Clone(), Usage: t.Usage.Clone()}
}
