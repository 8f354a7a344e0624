package tokenstore

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/journal"
)

// pending is what has been counted and is not saved yet, token by token.
type pending struct {
	mu sync.Mutex
	// saving is being saved, or could not be; nil if all before current is saved.
	saving *batch
	// current has all entries that were read from the journal since.
	current *batch
	// words are the scopes and outcomes that have been seen, so that each is in memory
	// once.
	words map[string]string
	// spare is an empty batch, to use its memory again.
	spare *batch
}

// batch is what one flush saves.
type batch struct {
	// flush is its number; see [FlushState].
	flush uint64
	// end is how far the journal was read into it.
	end     journal.Position
	numbers map[token.ID]int
	uses    []tokenUse
}

// tokenUse is what came to the usage of one token.
type tokenUse struct {
	id token.ID
	// last and previous are the newest entries of allowed requests with the present
	// secret or any, and with the one from before a rotation.
	last, previous     []byte
	lastAt, previousAt int64
	counts             []hourCount
}

// hourCount counts the requests of an hour for one scope with one outcome.
type hourCount struct {
	hour           int64 // since 1970
	scope, outcome string
	n              uint64
}

// maxSpare is how many tokens a batch may have had whose memory is kept.
const maxSpare = 1 << 16

func newPending(flush uint64) *pending {
	return &pending{current: newBatch(flush), words: make(map[string]string)}
}

func newBatch(flush uint64) *batch { return &batch{flush: flush, numbers: make(map[token.ID]int)} }

// fold reads the entries of the journal that were not read yet.
func (p *pending) fold(j *journal.Journal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read(j)
}

// addAll adds entries that an earlier process left, and returns the number of the flush
// that will save them.
func (p *pending) addAll(entries [][]byte) (flush uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, entry := range entries {
		p.add(entry)
	}
	return p.current.flush
}

// read is fold with the lock held.
func (p *pending) read(j *journal.Journal) { j.Read(p.add) }

// add adds an entry. The lock is held.
func (p *pending) add(entry []byte) {
	e, ok := decodeCounted(entry)
	if !ok {
		return
	}
	use := p.current.use(e.id)
	outcome := p.word(e.texts[textOutcome])
	use.count(hourOf(e.at), p.word(e.texts[textScope]), outcome)
	if outcome != OutcomeOK {
		return
	}
	if len(use.last) == 0 || e.at >= use.lastAt {
		use.last, use.lastAt = append(use.last[:0], entry...), e.at
	}
	if e.previous && (len(use.previous) == 0 || e.at >= use.previousAt) {
		use.previous, use.previousAt = append(use.previous[:0], entry...), e.at
	}
}

// word returns a text that is not the journal's memory.
func (p *pending) word(b []byte) string {
	word, ok := p.words[string(b)]
	if !ok {
		word = wire.ValidText(string(b))
		p.words[string(b)] = word
	}
	return word
}

// use returns what came to a token.
func (b *batch) use(id token.ID) *tokenUse {
	n, ok := b.numbers[id]
	if !ok {
		n = len(b.uses)
		b.numbers[id] = n
		if n < cap(b.uses) {
			b.uses = b.uses[:n+1] // with the memory of one before
		} else {
			b.uses = append(b.uses, tokenUse{})
		}
		b.uses[n].begin(id)
	}
	return &b.uses[n]
}

// begin sets the use to the one of an unused token. It keeps the memory.
func (u *tokenUse) begin(id token.ID) {
	*u = tokenUse{id: id, last: u.last[:0], previous: u.previous[:0], counts: u.counts[:0]}
}

func (u *tokenUse) count(hour int64, scope, outcome string) {
	for i := range u.counts {
		if c := &u.counts[i]; c.hour == hour && c.scope == scope && c.outcome == outcome {
			c.n++
			return
		}
	}
	u.counts = append(u.counts, hourCount{hour, scope, outcome, 1})
}

// usage returns what came to the token as a usage.
func (u *tokenUse) usage() Usage {
	usage := Usage{Last: lastUse(u.last), Previous: lastUse(u.previous)}
	slices.SortFunc(u.counts, func(a, b hourCount) int {
		return cmp.Or(cmp.Compare(dayOfHour(a.hour), dayOfHour(b.hour)), cmp.Compare(a.scope, b.scope),
			cmp.Compare(a.outcome, b.outcome))
	})
	for _, c := range u.counts {
		if c.outcome == OutcomeOK {
			usage.Allowed = sum(usage.Allowed, c.n)
		} else {
			usage.Denied = sum(usage.Denied, c.n)
		}
		day := dayOfHour(c.hour)
		if last := len(usage.Days) - 1; last < 0 || usage.Days[last].Day != day {
			usage.Days = append(usage.Days, DayUsage{Day: day})
		}
		usage.Days[len(usage.Days)-1].Add(Point{time.UnixMicro(c.hour * microsPerHour).UTC(), c.scope, c.outcome, c.n})
	}
	return usage
}

// cut returns the batch to save: the one that could not be saved before, and whether there
// is more; or all that was counted until now. It returns nil if there is nothing.
func (p *pending) cut(j *journal.Journal) (b *batch, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read(j)
	if p.saving != nil {
		return p.saving, true
	}
	if len(p.current.uses) == 0 {
		return nil, false
	}
	b = p.current
	b.end = j.Position()
	p.saving, p.current = b, p.spare
	if p.spare = nil; p.current == nil {
		p.current = newBatch(0)
	}
	p.current.flush = b.flush + 1
	return b, false
}

// ids returns the tokens of a batch that is being saved, in their order.
func (b *batch) ids() []token.ID {
	ids := make([]token.ID, len(b.uses))
	for i := range b.uses {
		ids[i] = b.uses[i].id
	}
	slices.SortFunc(ids, func(a, b token.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// usages returns what came to tokens of a batch that is being saved. Of the days before
// hours, the hours are added up.
func (p *pending) usages(b *batch, ids []token.ID, hours Day) iter.Seq2[token.ID, Usage] {
	return func(yield func(token.ID, Usage) bool) {
		for _, id := range ids {
			p.mu.Lock()
			usage := b.uses[b.numbers[id]].usage()
			p.mu.Unlock()
			for i, day := range usage.Days {
				if day.Day < hours {
					usage.Days[i] = day.AsWhole()
				}
			}
			if !yield(id, usage) {
				return
			}
		}
	}
}

// saved forgets the batch that was being saved.
func (p *pending) saved() {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.saving
	p.saving = nil
	if len(b.uses) <= maxSpare {
		clear(b.numbers)
		b.uses = b.uses[:0]
		p.spare = b
	}
}

// of returns what came to a token and the backend may not have: all that was counted
// until now.
func (p *pending) of(id token.ID, j *journal.Journal) (differences []difference) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read(j)
	for _, b := range []*batch{p.saving, p.current} {
		if b == nil {
			continue
		}
		if n, ok := b.numbers[id]; ok {
			differences = append(differences, difference{b.flush, b.uses[n].usage()})
		}
	}
	return differences
}

// difference is what one flush brings to a token's usage.
type difference struct {
	flush uint64
	usage Usage
}

// tokens is how many tokens have counts that are not saved.
func (p *pending) tokens(j *journal.Journal) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read(j)
	n := len(p.current.uses)
	if p.saving != nil {
		for i := range p.saving.uses {
			if _, counted := p.current.numbers[p.saving.uses[i].id]; !counted {
				n++
			}
		}
	}
	return n
}
