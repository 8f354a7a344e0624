package mollymawktest

import (
	"net/http"
	"slices"
)

// createToken is POST /api/tokens/create. Any integer is taken for the expiry, and
// an empty name too.
func (c *call) createToken() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	name, ok1 := get[string](o, "token_name")
	expiry, ok2 := get[int64](o, "token_expiry")
	if !ok1 || !ok2 {
		c.unexpected("Create token", o)
		return
	}
	t := &token{value: newUUID(), name: name, expiresIn: expiry, created: c.srv.now()}
	if c.change(func() { c.user.tokens = slices.Insert(c.user.tokens, 0, t) }) {
		c.say(http.StatusOK, t.json())
	}
}

// updateToken is POST /api/tokens/update. A later expiry brings a token back to
// life.
func (c *call) updateToken() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	name, ok1 := get[string](o, "token_name")
	expiry, ok2 := get[int64](o, "token_expiry")
	value, ok3 := get[string](o, "token_value")
	if !ok1 || !ok2 || !ok3 {
		c.unexpected("Update token", o)
		return
	}
	t := c.ownToken(value)
	if t == nil {
		c.say(http.StatusNotFound, "Token not found")
		return
	}
	var answer object
	if c.change(func() {
		t.name, t.expiresIn = name, expiry
		answer = t.json()
	}) {
		c.say(http.StatusOK, answer)
	}
}

// deleteToken is POST /api/tokens/delete, which also succeeds if there was none.
func (c *call) deleteToken() {
	o, ok := c.readObject()
	if !ok {
		return
	}
	value, ok := get[string](o, "token_value")
	if !ok {
		c.unexpected("Delete token", o)
		return
	}
	if c.change(func() {
		c.user.tokens = slices.DeleteFunc(c.user.tokens, func(t *token) bool { return t.value == value })
	}) {
		c.say(http.StatusOK, "Token deleted successfully")
	}
}

func (c *call) ownToken(value string) *token {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	for _, t := range c.user.tokens {
		if t.value == value {
			return t
		}
	}
	return nil
}

// unexpected answers with the whole body, also the secrets in it.
func (c *call) unexpected(what string, o object) {
	c.say(http.StatusBadRequest, what+": Unexpected fields. Got "+escaped(encode(o)))
}
