package tokenstore

import (
	"slices"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// MaxRefusals is the number of refusals that are kept per token.
const MaxRefusals = 100

// Refusal describes a request that was refused despite a correct secret. Client-supplied text
// is shortened: the method to 32 bytes, and the path and the user agent to 256 bytes each.
type Refusal struct {
	// Time has microsecond precision.
	Time   time.Time
	Method string
	// Path is the request's escaped path, without the query.
	Path string
	// Scope is the requested scope, or "" if it isn't known.
	Scope string
	// Code is the refusal code.
	Code      string
	IP        string
	UserAgent string
}

// MergeRefusals returns the newest MaxRefusals refusals of two lists, oldest first. Both lists
// must be sorted. The result may share memory with either list.
func MergeRefusals(a, b []Refusal) []Refusal {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return b
	}
	merged := slices.Concat(a, b)
	slices.SortStableFunc(merged, func(a, b Refusal) int { return a.Time.Compare(b.Time) })
	return merged[max(0, len(merged)-MaxRefusals):]
}

// Refusals returns a token's last MaxRefusals refused requests, newest first. The errors are
// [ErrNotFound] and [ErrUnavailable].
func (s *Store) Refusals(id token.ID) ([]Refusal, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if _, err := s.backend.Token(id); err != nil {
		return nil, readError(err)
	}
	counted := s.pending.differences(id, s.journal) // as in usage
	refusals, state, err := s.backend.Refusals(id)
	if err != nil {
		return nil, readError(err)
	}
	for _, d := range counted {
		if !state.includes(d.flush, id) {
			refusals = MergeRefusals(refusals, d.usage.Refusals)
		}
	}
	refusals = slices.Clone(refusals)
	slices.Reverse(refusals)
	return refusals, nil
}

// refusal returns the Refusal recorded in an entry of a refused request.
func refusal(entry []byte) (Refusal, bool) {
	e, ok := parseJournalEntry(entry)
	if !ok {
		return Refusal{}, false
	}
	text := func(i int) string { return token.Printable(string(e.texts[i])) }
	return Refusal{
		Time: time.UnixMicro(e.at).UTC(), Method: text(textMore), Path: text(textRoute),
		Scope: wire.ValidText(string(e.texts[textScope])), Code: wire.ValidText(string(e.texts[textOutcome])),
		IP: wire.ValidText(string(e.texts[textAddress])), UserAgent: text(textAgent),
	}, true
}
