package mollymawktest

// exception is the value of a handler's panic where the real Mollymawk raises an uncaught
// exception and crashes.
type exception string

func raise(what string) { panic(exception(what)) }

// catch turns an exception into a crash. Callers must defer it.
func (c *call) catch() {
	switch e := recover().(type) {
	case nil:
	case exception:
		c.crash()
	default:
		panic(e)
	}
}

// crash imitates a crash and restart of Mollymawk's process: it cuts all connections.
// Stored data remains.
func (c *call) crash() {
	if c.over {
		return
	}
	c.over = true
	c.srv.recorder.crash()
	c.srv.cutAllBut(c.conn)
}

// crashAlbatross imitates a crash and restart of albatross's daemon. Mollymawk continues.
func (c *call) crashAlbatross() { c.srv.recorder.crashAlbatross() }
