package tokenstore

import (
	"encoding/binary"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// counted is one counted request, as an entry of the journal holds it.
type counted struct {
	id       token.ID
	at       int64 // microseconds since 1970
	previous bool  // with the secret from before a rotation
	// outcome is OutcomeOK or the code of the refusal. Only allowed requests have a
	// route, an address and an agent.
	outcome, scope, route, address, agent string
}

// How many bytes of a text the journal keeps.
const (
	maxText            = 255
	maxRouteLength     = 1024
	maxUserAgentLength = 256
)

// An entry of the journal is the id, the time, a byte for previous, and the texts, each
// after its length in two bytes.
const countedHeader = len(token.ID{}) + 8 + 1

// cut shortens the texts to what the journal keeps.
func (c *counted) cut() {
	for _, text := range [...]*string{&c.outcome, &c.scope, &c.address} {
		*text = (*text)[:min(len(*text), maxText)]
	}
	c.route = c.route[:min(len(c.route), maxRouteLength)]
	c.agent = c.agent[:min(len(c.agent), maxUserAgentLength)]
}

func (c *counted) length() int {
	return countedHeader + 5*2 + len(c.outcome) + len(c.scope) + len(c.route) + len(c.address) + len(c.agent)
}

// encode writes the request into b, which has its length.
func (c *counted) encode(b []byte) {
	copy(b, c.id[:])
	binary.LittleEndian.PutUint64(b[len(c.id):], uint64(c.at))
	b[countedHeader-1] = 0
	if c.previous {
		b[countedHeader-1] = 1
	}
	b = b[countedHeader:]
	for _, text := range [...]string{c.outcome, c.scope, c.route, c.address, c.agent} {
		binary.LittleEndian.PutUint16(b, uint16(len(text)))
		b = b[2+copy(b[2:], text):]
	}
}

// countedEntry is an entry of the journal, whose memory its texts share.
type countedEntry struct {
	id       token.ID
	at       int64
	previous bool
	texts    [5][]byte
}

// The texts of an entry, in their order.
const (
	textOutcome = iota
	textScope
	textRoute
	textAddress
	textAgent
)

// decodeCounted reads an entry of the journal. ok is false for what encode can't have
// written.
func decodeCounted(b []byte) (e countedEntry, ok bool) {
	if len(b) < countedHeader {
		return e, false
	}
	copy(e.id[:], b)
	e.at = int64(binary.LittleEndian.Uint64(b[len(e.id):]))
	e.previous = b[countedHeader-1] != 0
	b = b[countedHeader:]
	for i := range e.texts {
		if len(b) < 2 || len(b)-2 < int(binary.LittleEndian.Uint16(b)) {
			return e, false
		}
		end := 2 + int(binary.LittleEndian.Uint16(b))
		e.texts[i], b = b[2:end], b[end:]
	}
	return e, len(b) == 0
}

// lastUse returns the use that an entry tells of, or none for a nil entry.
func lastUse(entry []byte) LastUse {
	e, ok := decodeCounted(entry)
	if !ok {
		return LastUse{}
	}
	return LastUse{
		Time: time.UnixMicro(e.at).UTC(), IP: wire.ValidText(string(e.texts[textAddress])),
		UserAgent: token.Printable(string(e.texts[textAgent])), Route: wire.ValidText(string(e.texts[textRoute])),
	}
}

// count appends the request to the journal.
func (s *Store) count(c *counted) {
	c.cut()
	for {
		if entry, ok := s.journal.Begin(c.length()); ok {
			c.encode(entry.Bytes)
			entry.End()
			return
		}
		s.pending.fold(s.journal)
	}
}
