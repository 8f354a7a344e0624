package tokenstore

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"
)

// termsList numbers the terms of the tokens in use, so that a record needs no pointer
// to them. Reading one takes no lock.
type termsList struct {
	terms pointerList[Terms]

	mu      sync.Mutex
	numbers map[string]uint32 // by what their key returns
	keys    []string
	users   []int // how many records have them
	free    []uint32
}

// at returns the terms with a number, or nil. They are those of the record that the
// number was read from, unless that has been changed since.
func (l *termsList) at(number uint32) *Terms { return l.terms.at(number) }

// share returns the number of a token's terms, for one record more.
func (l *termsList) share(token *Token) uint32 {
	terms := token.terms()
	key := terms.key()
	l.mu.Lock()
	defer l.mu.Unlock()
	number, ok := l.numbers[key]
	if !ok {
		number = l.number()
		l.terms.set(number, terms.clone())
		l.keys[number] = key
		if l.numbers == nil {
			l.numbers = make(map[string]uint32)
		}
		l.numbers[key] = number
	}
	l.users[number]++
	return number
}

// number returns one that nobody has. The lock is held.
func (l *termsList) number() uint32 {
	if last := len(l.free) - 1; last >= 0 {
		number := l.free[last]
		l.free = l.free[:last]
		return number
	}
	l.keys, l.users = append(l.keys, ""), append(l.users, 0)
	return uint32(len(l.keys) - 1)
}

// leave says that a record no longer has the terms.
func (l *termsList) leave(number uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users[number]--; l.users[number] > 0 {
		return
	}
	delete(l.numbers, l.keys[number])
	l.keys[number] = ""
	l.terms.set(number, nil)
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
