package mollymawktest

// exception is the value that a handler panics with where the real Mollymawk would raise an
// uncaught exception and crash.
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
// Stored data is kept.
func (c *call) crash() {
	if c.over {
		return
	}
	c.over = true
	c.srv.recorder.crash()
	c.srv.cutAllBut(c.conn)
}

// crashAlbatross imitates a crash and restart of albatross's daemon. Mollymawk keeps
// running.
func (c *call) crashAlbatross() { c.srv.recorder.crashAlbatross() }
