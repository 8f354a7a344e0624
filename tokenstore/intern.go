package tokenstore

import (
	"strings"
	"sync"
)

// interner keeps one copy of what many tokens in use have: accounts, scopes, user
// agents. It saves memory, and a request finds what it compares in the processor's
// cache, because others have just used it.
type interner struct {
	mu     sync.Mutex
	texts  map[string]string
	grants map[string]Grants // by their texts, joined
}

// maxInterned bounds each of the maps; beyond it what is new has a copy of its own.
const maxInterned = 4096

var interned = interner{texts: make(map[string]string), grants: make(map[string]Grants)}

// text returns a text that is equal to s and doesn't share its memory.
func (i *interner) text(s string) string {
	if s == "" {
		return ""
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.locked(s)
}

func (i *interner) locked(s string) string {
	if known, ok := i.texts[s]; ok {
		return known
	}
	s = strings.Clone(s)
	if len(i.texts) < maxInterned {
		i.texts[s] = s
	}
	return s
}

// share makes the token share what it has in common with others. Nobody else may have
// it yet.
func (i *interner) share(t *Token) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t.Prefix, t.Account, t.CreatedBy = i.locked(t.Prefix), i.locked(t.Account), i.locked(t.CreatedBy)
	if len(t.Scopes) == 0 {
		return
	}
	key := strings.Join(t.Scopes, "\n") // which no scope has
	grants, ok := i.grants[key]
	if !ok {
		grants = make(Grants, 0, len(t.Scopes))
		for _, scope := range t.Scopes {
			grants = append(grants, i.locked(scope))
		}
		if len(i.grants) < maxInterned {
			i.grants[key] = grants
		}
	}
	t.Scopes = grants
}
