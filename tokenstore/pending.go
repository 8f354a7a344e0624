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

// pending holds the unsaved usage of each token.
type pending struct {
	mu sync.Mutex
	// saving is the batch that is being saved or could not be saved. It is nil if everything
	// before current has been saved.
	saving *batch
	// current contains all journal entries read after those in saving.
	current *batch
	// words interns scopes and outcomes: each is stored in memory only once.
	words map[string]string
	// spare is an empty batch kept so that its memory can be reused.
	spare *batch
	// noteUse is called for each entry.
	noteUse func(token.ID)
}

// batch is the usage saved by one flush.
type batch struct {
	// flush is the number of the flush; see [FlushState].
	flush uint64
	// end is the position in the journal up to which entries were read into the batch.
	end     journal.Position
	numbers map[token.ID]int
	uses    []tokenUse
	// refused is the number of entries of refused requests in uses.
	refused int
}

// maxBatchRefusals limits the memory that a batch needs for refusals, in case it can't be
// saved for a long time. Further refusals are counted, but not kept.
const maxBatchRefusals = 1 << 17

// tokenUse is the unsaved usage of one token.
type tokenUse struct {
	id token.ID
	// last is the entry of the newest allowed request, and previous is the entry of the newest
	// allowed request that used the previous secret.
	last, previous     []byte
	lastAt, previousAt int64
	counts             []hourCount
	// resources are sorted by pattern.
	resources []ResourceUse
	// refused contains the entries of the newest refused requests, up to MaxRefusals, in no
	// particular order.
	refused []refusedEntry
}

// refusedEntry is the entry of a refused request and its time.
type refusedEntry struct {
	at    int64
	entry []byte
}

// hourCount is the number of requests in one hour with one scope and outcome.
type hourCount struct {
	hour           int64 // hours since 1970
	scope, outcome string
	n              uint64
}

// maxSpare is the largest number of tokens in a batch that is kept as spare.
const maxSpare = 1 << 16

func newPending(flush uint64, noteUse func(token.ID)) *pending {
	return &pending{current: newBatch(flush), words: make(map[string]string), noteUse: noteUse}
}

func newBatch(flush uint64) *batch { return &batch{flush: flush, numbers: make(map[token.ID]int)} }

// drain reads all unread journal entries.
func (p *pending) drain(j *journal.Journal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read(j)
}

// addAll adds an earlier process's entries and returns the number of the flush that will save
// them.
func (p *pending) addAll(entries [][]byte) (flush uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, entry := range entries {
		p.add(entry)
	}
	return p.current.flush
}

// read is like drain, but the caller must hold p.mu.
func (p *pending) read(j *journal.Journal) { j.Read(p.add) }

// add adds an entry. The caller must hold p.mu.
func (p *pending) add(entry []byte) {
	e, ok := parseJournalEntry(entry)
	if !ok {
		return
	}
	p.noteUse(e.id)
	use := p.current.use(e.id)
	scope, outcome := e.texts[textScope], e.texts[textOutcome]
	if !use.countAgain(hourOf(e.at), scope, outcome) {
		use.counts = append(use.counts, hourCount{hourOf(e.at), p.word(scope), p.word(outcome), 1})
	}
	if string(outcome) != OutcomeOK {
		p.current.addRefusal(use, e.at, entry)
		return
	}
	for pattern := range bytes.SplitSeq(e.texts[textMore], []byte("\n")) {
		if len(pattern) > 0 {
			use.useResource(pattern, dayOfHour(hourOf(e.at)))
		}
	}
	if len(use.last) == 0 || e.at >= use.lastAt {
		use.last, use.lastAt = append(use.last[:0], entry...), e.at
	}
	if e.previous && (len(use.previous) == 0 || e.at >= use.previousAt) {
		use.previous, use.previousAt = append(use.previous[:0], entry...), e.at
	}
}

// word returns an interned copy of a string in the journal's memory.
func (p *pending) word(b []byte) string {
	word, ok := p.words[string(b)]
	if !ok {
		word = wire.ValidText(string(b))
		p.words[string(b)] = word
	}
	return word
}

// use returns the batch's usage for a token, creating it if needed.
func (b *batch) use(id token.ID) *tokenUse {
	n, ok := b.numbers[id]
	if !ok {
		n = len(b.uses)
		b.numbers[id] = n
		if n < cap(b.uses) {
			b.uses = b.uses[:n+1] // reuses memory
		} else {
			b.uses = append(b.uses, tokenUse{})
		}
		b.uses[n].begin(id)
	}
	return &b.uses[n]
}

// addRefusal keeps the entry of a refused request.
func (b *batch) addRefusal(use *tokenUse, at int64, entry []byte) {
	if len(use.refused) < MaxRefusals {
		if b.refused < maxBatchRefusals {
			use.refused = append(use.refused, refusedEntry{at, bytes.Clone(entry)})
			b.refused++
		}
		return
	}
	oldest := 0 // the journal's rings don't preserve the order of requests
	for i := range use.refused {
		if use.refused[i].at < use.refused[oldest].at {
			oldest = i
		}
	}
	if replaced := &use.refused[oldest]; at >= replaced.at {
		replaced.at, replaced.entry = at, append(replaced.entry[:0], entry...)
	}
}

// begin resets u to an unused token, reusing its memory.
func (u *tokenUse) begin(id token.ID) {
	*u = tokenUse{id: id, last: u.last[:0], previous: u.previous[:0], counts: u.counts[:0],
		resources: u.resources[:0]}
}

// countAgain counts a request, and reports whether there is already a count for its hour, scope and
// outcome.
func (u *tokenUse) countAgain(hour int64, scope, outcome []byte) bool {
	for i := range u.counts {
		if c := &u.counts[i]; c.hour == hour && c.scope == string(scope) && c.outcome == string(outcome) {
			c.n++
			return true
		}
	}
	return false
}

// useResource notes that a pattern was used on a day.
func (u *tokenUse) useResource(pattern []byte, day Day) {
	i, found := slices.BinarySearchFunc(u.resources, pattern, func(use ResourceUse, pattern []byte) int {
		return cmp.Compare(use.Pattern, string(pattern))
	})
	if found {
		u.resources[i].Day = max(u.resources[i].Day, day)
	} else if len(u.resources) < maxResourceUses {
		u.resources = slices.Insert(u.resources, i, ResourceUse{wire.ValidText(string(pattern)), day})
	}
}

// usage converts u to a Usage for use with [Usage.Plus].
func (u *tokenUse) usage() Usage {
	usage := Usage{Last: lastUse(u.last), Previous: lastUse(u.previous)}
	if len(u.resources) > 0 {
		usage.Resources = slices.Clone(u.resources)
	}
	for _, refused := range u.refused {
		if r, ok := refusal(refused.entry); ok {
			usage.Refusals = append(usage.Refusals, r)
		}
	}
	slices.SortStableFunc(usage.Refusals, func(a, b Refusal) int { return a.Time.Compare(b.Time) })
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

// nextBatch returns the next batch to save, or nil if there is none. If the last batch could
// not be saved, nextBatch returns it again and sets more, because newer counts may exist.
// Otherwise the batch contains everything counted so far.
func (p *pending) nextBatch(j *journal.Journal) (b *batch, more bool) {
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

// ids returns the sorted IDs of the batch's tokens.
func (b *batch) ids() []token.ID {
	ids := make([]token.ID, len(b.uses))
	for i := range b.uses {
		ids[i] = b.uses[i].id
	}
	slices.SortFunc(ids, func(a, b token.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// usages yields the usage of the given tokens from a batch that is being saved. For days
// before the day passed as hours, it merges the hourly counts into daily counts.
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

// saved discards the batch that was being saved.
func (p *pending) saved() {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.saving
	p.saving = nil
	if len(b.uses) <= maxSpare {
		clear(b.numbers)
		b.uses, b.refused = b.uses[:0], 0
		p.spare = b
	}
}

// differences returns the differences to a token's usage that might not be saved in the
// backend yet, including everything counted so far.
func (p *pending) differences(id token.ID, j *journal.Journal) (differences []difference) {
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

// difference is the amount that one flush adds to a token's usage.
type difference struct {
	flush uint64
	usage Usage
}

// tokens returns the number of tokens with unsaved counts.
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
