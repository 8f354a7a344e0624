package tokenstore

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// termsList numbers the terms of the tokens in use, so that an entry needs no pointer to
// them.
type termsList struct {
	// terms grow at the end. A place is used again only when no entry has its number.
	terms atomic.Pointer[[]*Terms]

	mu      sync.Mutex
	numbers map[string]uint32 // by what their key returns
	keys    []string
	users   []int // how many entries have them
	free    []uint32
}

// at returns the terms with a number. The lock of an entry that has the number is held.
func (l *termsList) at(number uint32) *Terms { return (*l.terms.Load())[number] }

// share returns the number of a token's terms, for one entry more.
func (l *termsList) share(token *Token) uint32 {
	terms := token.terms()
	key := terms.key()
	l.mu.Lock()
	defer l.mu.Unlock()
	number, ok := l.numbers[key]
	if !ok {
		number = l.put(terms.clone())
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
func (l *termsList) put(terms *Terms) uint32 {
	if last := len(l.free) - 1; last >= 0 {
		number := l.free[last]
		l.free = l.free[:last]
		(*l.terms.Load())[number] = terms
		return number
	}
	var list []*Terms
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

// clone returns a copy that shares no memory with a token.
func (t *Terms) clone() *Terms {
	c := *t
	c.Account = strings.Clone(t.Account)
	c.Scopes = slices.Clone(t.Scopes)
	for i, scope := range c.Scopes {
		c.Scopes[i] = strings.Clone(scope)
	}
	c.AllowedIPs = slices.Clone(t.AllowedIPs)
	return &c
}

// key returns a text that only equal terms have.
func (t *Terms) key() string {
	b := []byte{byte(t.Kind), byte(t.Quota.Period)}
	for _, n := range []int64{t.RateLimit.Requests, int64(t.RateLimit.Window), t.Quota.Requests} {
		b = binary.AppendVarint(b, n)
	}
	for _, text := range append([]string{t.Account}, t.Scopes...) {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	for _, prefix := range t.AllowedIPs {
		b = append(append(b, ' '), prefix.String()...)
	}
	return string(b)
}
