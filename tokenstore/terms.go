package tokenstore

import (
	"sync"
	"sync/atomic"

	"github.com/mollygate/mollygate/token"
)

// termsList assigns numbers to the terms of tokens in use, so that entries don't need pointers
// to their terms.
type termsList struct {
	// terms only ever grows at the end. A number is reused only once no entry uses it anymore.
	terms atomic.Pointer[[]*token.Terms]

	mu      sync.Mutex
	numbers map[string]uint32 // by Terms.Key
	keys    []string
	users   []int // number of entries that use the terms, by number
	free    []uint32
}

// at returns the terms with the given number. The caller must hold the lock of an entry that
// uses them.
func (l *termsList) at(number uint32) *token.Terms { return (*l.terms.Load())[number] }

// acquire returns the number of a token's terms and records that one more entry uses them.
func (l *termsList) acquire(token *token.Token) uint32 {
	key := token.Key()
	l.mu.Lock()
	defer l.mu.Unlock()
	number, ok := l.numbers[key]
	if !ok {
		number = l.put(token.Terms.Clone())
		l.keys[number] = key
		if l.numbers == nil {
			l.numbers = make(map[string]uint32)
		}
		l.numbers[key] = number
	}
	l.users[number]++
	return number
}

// put assigns a number to terms. The caller must hold l.mu.
func (l *termsList) put(terms *token.Terms) uint32 {
	if last := len(l.free) - 1; last >= 0 {
		number := l.free[last]
		l.free = l.free[:last]
		(*l.terms.Load())[number] = terms
		return number
	}
	var list []*token.Terms
	if old := l.terms.Load(); old != nil {
		list = *old
	}
	list = append(list, terms)
	l.terms.Store(&list)
	l.keys, l.users = append(l.keys, ""), append(l.users, 0)
	return uint32(len(list) - 1)
}

// release records that an entry no longer uses the terms.
func (l *termsList) release(number uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users[number]--; l.users[number] > 0 {
		return
	}
	delete(l.numbers, l.keys[number])
	l.keys[number] = ""
	(*l.terms.Load())[number] = nil
	l.free = append(l.free, number)
}
