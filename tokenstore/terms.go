package tokenstore

import (
	"sync"
	"sync/atomic"

	"github.com/mollygate/mollygate/token"
)

// termsList numbers the terms of the tokens in use, so that an entry needs no pointer to
// them.
type termsList struct {
	// terms grow at the end. A place is used again only when no entry has its number.
	terms atomic.Pointer[[]*token.Terms]

	mu      sync.Mutex
	numbers map[string]uint32 // by their Key
	keys    []string
	users   []int // how many entries have them
	free    []uint32
}

// at returns the terms with a number. The lock of an entry that has the number is held.
func (l *termsList) at(number uint32) *token.Terms { return (*l.terms.Load())[number] }

// share returns the number of a token's terms, for one entry more.
func (l *termsList) share(token *token.Token) uint32 {
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

// put gives terms a number. The lock is held.
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

// leave says that an entry no longer has the terms.
func (l *termsList) leave(number uint32) {
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
