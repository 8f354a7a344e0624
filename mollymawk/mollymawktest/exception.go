package mollymawktest

// exception is what a handler panics with where Mollymawk raises an exception that
// nothing catches. It ends the real process.
type exception string

func raise(what string) { panic(exception(what)) }

// catch turns an exception into the end of the process. Callers defer it.
func (c *call) catch() {
	switch e := recover().(type) {
	case nil:
	case exception:
		c.crash()
	default:
		panic(e)
	}
}

// crash is the end of the process, which is restarted with what it had stored: all
// connections are cut.
func (c *call) crash() {
	if c.over {
		return
	}
	c.over = true
	c.srv.recorder.crash()
	c.srv.cutAllBut(c.conn)
}

// crashAlbatross is the end of albatross' daemon, which is restarted too. Mollymawk
// goes on.
func (c *call) crashAlbatross() { c.srv.recorder.crashAlbatross() }
