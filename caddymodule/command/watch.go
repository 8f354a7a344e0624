package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/mollygate/mollygate/admin/client"
)

const (
	// watchInterval is how often watch lists the keys if nothing happens.
	watchInterval = 2 * time.Second
	// watchPause is how long watch waits after listing, in multiples of the time that listing
	// took. It matters if there are very many keys.
	watchPause = 5
	// watchRows is the number of keys that watch shows on a terminal of unknown height.
	watchRows = 20
)

func watchFlag(flags *pflag.FlagSet) {
	flags.Bool("watch", false, "Show changes as they happen, until you press Ctrl-C")
}

// watch lists the keys until the user presses Ctrl-C. On a terminal, it redraws the table.
// Elsewhere and with --output json, it writes a line for each change.
func (i *invocation) watch(api *endpointClient, query client.ListQuery) error {
	form := i.output()
	if form != outputTable && form != outputWide && form != outputJSON {
		return usageErrorf("--watch: write --output table, wide or json")
	}
	ctx, stop := signal.NotifyContext(i.ctx, os.Interrupt)
	defer stop()
	w := &watcher{invocation: i, api: api, query: query, ctx: ctx, news: make(chan struct{}, 1)}
	if w.redraws = form != outputJSON && i.screen.width > 0; w.redraws && !i.flags.Changed("limit") {
		w.query.Limit = watchHeight(i.out)
	}
	go w.listen()
	err := w.run()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// watchHeight returns the number of keys that fit on the terminal.
func watchHeight(out io.Writer) int {
	if file, ok := out.(*os.File); ok {
		if _, height, err := term.GetSize(int(file.Fd())); err == nil {
			return min(max(1, height-3), client.MaxPage) // the heading, the last line and the cursor
		}
	}
	return watchRows
}

// watcher is a running watch.
type watcher struct {
	*invocation
	api   *endpointClient
	query client.ListQuery
	ctx   context.Context
	// redraws reports whether the watch redraws a table.
	redraws bool
	// news receives a value after something has happened at the server.
	news chan struct{}
	// known holds the keys as last listed, in the order of the list.
	known  []client.Token
	begun  bool
	failed bool
}

// listen waits for events at the server. While there is no connection, it reports news at every
// interval, so that nothing is missed.
func (w *watcher) listen() {
	for w.ctx.Err() == nil {
		if events, err := w.api.Events(w.ctx); err == nil {
			for err == nil {
				w.note()
				_, err = events.Next()
			}
			_ = events.Close() // opened for reading only
		}
		w.note()
		w.wait(watchInterval)
	}
}

func (w *watcher) note() {
	select {
	case w.news <- struct{}{}:
	default: // the watch hasn't seen the last news yet
	}
}

// wait waits for a duration or the end of the watch.
func (w *watcher) wait(d time.Duration) {
	select {
	case <-w.after(d):
	case <-w.ctx.Done():
	}
}

// run lists the keys whenever something has happened. It returns the first error if it has not
// listed them before, and otherwise tries again.
func (w *watcher) run() error {
	for {
		begun := time.Now()
		tokens, err := w.list()
		if err == nil {
			err = w.show(tokens)
		} else if err = w.api.explain(err); w.begun && exitCode(err) == exitUnreachable {
			w.report(err)
			err = nil
		}
		if err != nil || w.ctx.Err() != nil {
			return err
		}
		w.wait(watchPause * time.Since(begun))
		var tick <-chan time.Time
		if w.redraws { // the times in the table depend on the current time
			tick = w.after(watchInterval)
		}
		select {
		case <-w.news:
		case <-tick:
		case <-w.ctx.Done():
			return nil
		}
	}
}

// list returns the selected keys: all of them, or one page with --limit or on a terminal.
func (w *watcher) list() (tokens []client.Token, err error) {
	for page, err := range w.api.Pages(w.ctx, w.query) {
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, page.Tokens...)
		if w.redraws || w.flags.Changed("limit") {
			break
		}
	}
	return tokens, nil
}

// report prints an error once, until the server responds again.
func (w *watcher) report(err error) {
	if !w.failed {
		w.failed = true
		w.message("%v. Trying again.", err)
	}
}

func (w *watcher) show(tokens []client.Token) error {
	if w.failed {
		w.failed = false
		w.message("Connected again.")
	}
	defer func() { w.known, w.begun = tokens, true }()
	if w.redraws {
		return w.draw(tokens)
	}
	if !w.begun {
		w.message("Watching %d API keys. Press Ctrl-C to stop.", len(tokens))
		return nil
	}
	return w.changes(tokens)
}

// draw replaces the table on the terminal.
func (w *watcher) draw(tokens []client.Token) error {
	var text bytes.Buffer
	c := *w.console
	c.out, c.err = &text, io.Discard
	i := *w.invocation
	i.console = &c
	out, err := newResults(&i, keyFields)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if err := out.write(t); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	if len(tokens) == 0 {
		text.WriteString("no API keys\n")
	}
	fmt.Fprintf(&text, "%s UTC. Press Ctrl-C to stop.\n", dateAndTime(w.now()))
	const (
		home      = "\x1b[H"
		clearAll  = "\x1b[H\x1b[2J"
		clearLine = "\x1b[K\n"
		clearRest = "\x1b[J"
	)
	start := home // without flicker
	if !w.begun {
		start = clearAll
	}
	_, err = io.WriteString(w.out, start+strings.ReplaceAll(text.String(), "\n", clearLine)+clearRest)
	return err
}

// keyChange is a change to a key, as watch writes it.
type keyChange struct {
	Time  string          `json:"time"`
	Event string          `json:"event"`
	Token json.RawMessage `json:"token"`

	token client.Token
}

// changes writes a line for each difference between the last list and this one.
func (w *watcher) changes(tokens []client.Token) error {
	before := make(map[string]client.Token)
	for _, t := range w.known {
		before[t.ID] = t
	}
	var changes []keyChange
	note := func(event string, t client.Token) {
		changes = append(changes, keyChange{rfc3339(w.now()), event, t.JSON(), t})
	}
	for _, t := range tokens {
		old, known := before[t.ID]
		delete(before, t.ID)
		switch {
		case !known:
			note("new", t)
		case old.Version != t.Version || old.Status != t.Status:
			note("changed", t)
		case old.UsageCount != t.UsageCount:
			note("used", t)
		case old.DeniedCount != t.DeniedCount:
			note("refused", t)
		}
	}
	for _, t := range w.known {
		if _, gone := before[t.ID]; gone {
			note("gone", t)
		}
	}
	for _, c := range changes {
		line := fmt.Sprintf("%s  %-7s  %s  %-8s  %s uses, %s refused  %s", c.Time, c.Event, orDash(c.token.ID),
			orDash(c.token.Status), count(c.token.UsageCount), count(c.token.DeniedCount), orDash(c.token.Name))
		if w.output() == outputJSON {
			line = printableJSON(marshal(c))
		}
		if _, err := fmt.Fprintln(w.out, line); err != nil {
			return err
		}
	}
	return nil
}
