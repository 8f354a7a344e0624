package tokenstore

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// journalEntry is a counted request as stored in the usage journal.
type journalEntry struct {
	id       token.ID
	at       int64 // microseconds since 1970
	previous bool  // the request used the previous secret
	// outcome is OutcomeOK or the refusal code. route is the matched route of an allowed
	// request or the path of a refused one. more is the method of a refused request, or the
	// patterns of an allowed one; see joinPatterns.
	outcome, scope, route, address, agent, more string
}

// Maximum lengths of strings in the journal, in bytes.
const (
	maxText            = 255
	maxRouteLength     = 1024
	maxUserAgentLength = 256
	maxPathLength      = 256
	maxMethodLength    = 32
	maxPatternsLength  = 1024
)

// An encoded entry consists of the ID, the time, one byte for previous, and the strings, each
// preceded by its length in two bytes. The last string is left out if it is empty, as in the
// entries of earlier versions. Those versions ignore the patterns of an allowed request.
const journalEntryHeader = len(token.ID{}) + 8 + 1

// truncate cuts the strings to their maximum lengths.
func (c *journalEntry) truncate() {
	route, more := maxRouteLength, maxPatternsLength
	if c.outcome != OutcomeOK {
		route, more = maxPathLength, maxMethodLength // from a client, not from the configuration
	}
	c.outcome, c.scope, c.address = cut(c.outcome, maxText), cut(c.scope, maxText), cut(c.address, maxText)
	c.route, c.agent, c.more = cut(c.route, route), cut(c.agent, maxUserAgentLength), cut(c.more, more)
}

func cut(s string, most int) string { return s[:min(len(s), most)] }

func (c *journalEntry) length() int {
	length := journalEntryHeader + 5*2 + len(c.outcome) + len(c.scope) + len(c.route) + len(c.address) + len(c.agent)
	if c.more != "" {
		length += 2 + len(c.more)
	}
	return length
}

// encode writes the entry to b, which must have the entry's length.
func (c *journalEntry) encode(b []byte) {
	copy(b, c.id[:])
	binary.LittleEndian.PutUint64(b[len(c.id):], uint64(c.at))
	b[journalEntryHeader-1] = 0
	if c.previous {
		b[journalEntryHeader-1] = 1
	}
	b = b[journalEntryHeader:]
	for i, text := range [...]string{c.outcome, c.scope, c.route, c.address, c.agent, c.more} {
		if i == textMore && text == "" {
			break
		}
		binary.LittleEndian.PutUint16(b, uint16(len(text)))
		b = b[2+copy(b[2:], text):]
	}
}

// parsedEntry is a parsed journal entry. Its strings share the entry's memory.
type parsedEntry struct {
	id       token.ID
	at       int64
	previous bool
	texts    [6][]byte
}

// Indexes of an entry's strings.
const (
	textOutcome = iota
	textScope
	textRoute
	textAddress
	textAgent
	textMore
)

// joinPatterns returns patterns as a journal entry stores them. If they are too long, it leaves
// some out.
func joinPatterns(patterns []string) string {
	length := 0
	for i, pattern := range patterns {
		if length += len(pattern) + 1; length > maxPatternsLength {
			patterns = patterns[:i]
			break
		}
	}
	return strings.Join(patterns, "\n") // patterns have no control characters
}

// parseJournalEntry parses a journal entry. It reports false if encode could not have produced
// the entry.
func parseJournalEntry(b []byte) (e parsedEntry, ok bool) {
	if len(b) < journalEntryHeader {
		return e, false
	}
	copy(e.id[:], b)
	e.at = int64(binary.LittleEndian.Uint64(b[len(e.id):]))
	e.previous = b[journalEntryHeader-1] != 0
	b = b[journalEntryHeader:]
	for i := range e.texts {
		if i == textMore && len(b) == 0 {
			break
		}
		if len(b) < 2 || len(b)-2 < int(binary.LittleEndian.Uint16(b)) {
			return e, false
		}
		end := 2 + int(binary.LittleEndian.Uint16(b))
		e.texts[i], b = b[2:end], b[end:]
	}
	return e, len(b) == 0
}

// lastUse returns the LastUse recorded in an entry, or the zero LastUse for a nil entry.
func lastUse(entry []byte) LastUse {
	e, ok := parseJournalEntry(entry)
	if !ok {
		return LastUse{}
	}
	return LastUse{
		Time: time.UnixMicro(e.at).UTC(), IP: wire.ValidText(string(e.texts[textAddress])),
		UserAgent: token.Printable(string(e.texts[textAgent])), Route: wire.ValidText(string(e.texts[textRoute])),
	}
}

// count appends a counted request to the journal.
func (s *Store) count(c *journalEntry) {
	c.truncate()
	for {
		if entry, ok := s.journal.Begin(c.length()); ok {
			c.encode(entry.Bytes)
			entry.End()
			return
		}
		s.pending.drain(s.journal)
	}
}
