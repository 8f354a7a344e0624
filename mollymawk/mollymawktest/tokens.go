package mollymawktest

import (
	"net/http"
	"slices"
)

// createToken handles POST /api/tokens/create. It accepts any integer as the expiry and
// allows an empty name.
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
	c.change(func() { c.user.tokens = slices.Insert(c.user.tokens, 0, t) })
	c.say(http.StatusOK, t.json())
}

// unexpected responds with an error that quotes the whole body, including any secrets in
// it.
func (c *call) unexpected(what string, o object) {
	c.say(http.StatusBadRequest, what+": Unexpected fields. Got "+escaped(encode(o)))
}
