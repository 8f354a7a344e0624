package backendtest

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// testState verifies that SetTimes stores nonzero times and the audit entry.
func testState(s *suite) {
	want := tokenstore.State{Identity: s.state().Identity} // never changes
	s.equal("new", s.state(), want)
	for i, times := range []tokenstore.State{
		{Recorded: now}, {Elapsed: now.Add(time.Second)}, {Announced: now.Add(2 * time.Second)}, {},
		{BackedUp: now.Add(3 * time.Second)},
		{Recorded: now.Add(-time.Hour), Elapsed: now, Announced: now.Add(time.Microsecond)}, // times may move backwards
	} {
		for _, t := range []struct{ to, from *time.Time }{{&want.Recorded, &times.Recorded},
			{&want.Elapsed, &times.Elapsed}, {&want.Announced, &times.Announced},
			{&want.BackedUp, &times.BackedUp}} {
			if !t.from.IsZero() {
				*t.to = *t.from
			}
		}
		times.Flush = tokenstore.FlushState{Flush: 99} // not a time, so not stored
		s.check(s.SetTimes(times, nil))
		s.equal("state", s.state(), want)
		if n := len(s.entries()); n != i {
			s.Errorf("got %d audit entries, want %d", n, i)
		}
		entry := tokenstore.AuditEntry{Time: now.Add(time.Duration(i) * time.Second), Actor: "me", Action: "clock",
			Changes: map[string]string{"a": "b"}}
		s.check(s.SetTimes(tokenstore.State{}, &entry))
		s.equal("entry", s.entries()[0], entry)
	}
	if killed := s.killed(); killed != nil {
		s.equal("after a kill", killed.content(), s.content())
	}
	path := s.JournalPath()
	s.reopen()
	s.equal("reopened", s.state(), want)
	s.equal("the journal's path", s.JournalPath(), path)
}

// testBackup verifies that a backup has the returned length and contains everything stored at
// the time of the call, but nothing added while the backup is being read.
func testBackup(s *suite) {
	s.put(newToken(1), wholeToken(2))
	s.check(s.save(now, tokenstore.FlushState{Flush: 3},
		map[token.ID]tokenstore.Usage{
			idOf(2): {Allowed: 5, Days: []tokenstore.DayUsage{usedOn(today-1, 1), usedOn(today, 2)}}}))
	s.check(s.apply(idOf(1), tokenstore.Change{
		Token: newToken(1), Request: &tokenstore.KeptRequest{Key: digest("key"), Body: digest("body"), ID: idOf(1),
			Time: now},
		Ended: &tokenstore.EndedSecret{Digest: digest("ended"), At: now},
	}))
	want, days := s.content(), s.days(idOf(2))
	backup, length, err := s.Backup()
	s.check(err)
	s.put(newToken(3)) // must not wait for the reader
	content, err := io.ReadAll(backup)
	s.check(errors.Join(err, backup.Close()))
	if int64(len(content)) != length || length == 0 {
		s.Errorf("the backup has %d bytes, want %d", len(content), length)
	}
	if s.kind.Restore == nil {
		return
	}
	dir := s.TempDir()
	s.kind.Restore(s, bytes.NewReader(content), dir)
	restored := open(s.T, s.kind, dir)
	s.equal("restored", restored.content(), want)
	s.equal("restored days", restored.days(idOf(2)), days)
	if _, err := restored.Request(digest("key")); err != nil {
		s.Error(err)
	}
	ended := newToken(4)
	ended.Digest = digest("ended")
	if err := restored.apply(ended.ID, tokenstore.Change{Token: ended}); !errors.Is(err, tokenstore.ErrTaken) {
		s.Errorf("using an ended secret after a restore: got error %v, want ErrTaken", err)
	}
}

// calls returns one call per method that can fail, for a stored token.
func (s *suite) calls(i int) map[string]func() error {
	tok := newToken(i)
	return map[string]func() error{
		"Token": func() error { _, err := s.Token(tok.ID); return err },
		"IDOf":  func() error { _, err := s.IDOf(tok.Digest); return err },
		"Apply": func() error { return s.edit(tok.ID, func(*token.Token) {}) },
		"List": func() error {
			return s.List(tokenstore.OrderExpires, nil, true, func(*token.Token) bool { return true })
		},
		"Scan": func() error {
			return s.Scan(token.ID{}, func(*token.Token, tokenstore.Usage) bool { return true })
		},
		"Usage": func() error { _, _, err := s.Usage(tok.ID, today, today); return err },
		"SaveUsage": func() error {
			return s.save(now, tokenstore.FlushState{}, map[token.ID]tokenstore.Usage{tok.ID: {Allowed: 1}})
		},
		"Refusals": func() error { _, _, err := s.Refusals(tok.ID); return err },
		"Totals":   func() error { _, err := s.Totals(today, today); return err },
		"Request": func() error {
			if _, err := s.Request(tok.Digest); !errors.Is(err, tokenstore.ErrNotFound) {
				return err
			}
			return nil
		},
		"Audit": func() error {
			return s.Audit(nil, func(tokenstore.AuditPosition, tokenstore.AuditEntry) bool { return true })
		},
		"Prune":    func() error { _, err := s.Prune(tokenstore.Retention{}); return err },
		"State":    func() error { _, err := s.State(); return err },
		"SetTimes": func() error { return s.SetTimes(tokenstore.State{Elapsed: now}, nil) },
		"Backup": func() error {
			content, _, err := s.Backup()
			if err != nil {
				return err
			}
			return content.Close()
		},
	}
}

// testClose verifies that every method returns ErrClosed after Close, and that a second Close
// succeeds.
func testClose(s *suite) {
	s.put(newToken(1))
	for name, call := range s.calls(1) {
		if err := call(); err != nil {
			s.Errorf("%s: %v", name, err)
		}
	}
	s.check(s.Close())
	for name, call := range s.calls(1) {
		if err := call(); !errors.Is(err, tokenstore.ErrClosed) {
			s.Errorf("%s after Close: got error %v, want ErrClosed", name, err)
		}
	}
	s.check(s.Close())
}

// testCloseWaits verifies that Close waits for a List in progress.
func testCloseWaits(s *suite) {
	s.put(newToken(1))
	var walked atomic.Bool
	began, closed := make(chan struct{}), make(chan struct{})
	s.check(s.List(tokenstore.OrderCreated, nil, false, func(*token.Token) bool {
		go func() {
			defer close(closed)
			close(began)
			if err := s.Close(); err != nil {
				s.Error(err)
			}
			if !walked.Load() {
				s.Error("Close didn't wait for List")
			}
		}()
		<-began
		for range 10_000 { // time for Close to return if it doesn't wait
			runtime.Gosched()
		}
		walked.Store(true)
		return true
	}))
	<-closed
}

// testCloseDuringUse closes a store in use. Each call must succeed or fail with ErrClosed.
func testCloseDuringUse(s *suite) {
	for range 5 {
		s.put(newToken(1))
		calls := s.calls(1)
		begun := make(chan struct{}, len(calls))
		var users sync.WaitGroup
		for name, call := range calls {
			users.Go(func() {
				for n := 0; ; n++ {
					if n == 2 {
						begun <- struct{}{}
					}
					if err := call(); err != nil {
						if !errors.Is(err, tokenstore.ErrClosed) {
							s.Errorf("%s: %v", name, err)
						}
						if n < 2 {
							begun <- struct{}{}
						}
						return
					}
				}
			})
		}
		for range cap(begun) {
			<-begun
		}
		s.check(s.Close())
		users.Wait()
		s.reopen()
	}
}

// testConcurrency calls all methods from many goroutines and verifies that each successful
// change is stored once, with its audit entry.
func testConcurrency(s *suite) {
	const users, rounds = 4, 5
	var all sync.WaitGroup
	for i := range users {
		s.put(newToken(i))
		for name, call := range s.calls(i) {
			all.Go(func() {
				for range rounds {
					if err := call(); err != nil {
						s.Errorf("%s: %v", name, err)
					}
				}
			})
		}
		// Change the same token, interleaved with refused changes.
		all.Go(func() {
			for n := range rounds {
				if err := s.edit(idOf(0), func(token *token.Token) {}); err != nil {
					s.Error(err)
				}
				errNo := errors.New("no")
				refuse := func(*token.Token) (tokenstore.Change, error) { return tokenstore.Change{}, errNo }
				if _, err := s.Apply(idOf(0), now, refuse); err != errNo { //nolint:errorlint
					s.Errorf("refused change: got error %v, want %v", err, errNo)
				}
				id := idOf(100 + i*rounds + n)
				tok := newToken(100 + i*rounds + n)
				// Only imported secrets can belong to two tokens: the others are random.
				tok.Format, tok.Digest = token.FormatImported, digest(string(rune('a'+n))) // shared by all users
				if err := s.apply(id, tokenstore.Change{Token: tok}); err != nil &&
					!errors.Is(err, tokenstore.ErrTaken) {
					s.Error(err)
				}
			}
		})
	}
	all.Wait()
	s.reopen()
	for i := range users {
		token, err := s.Token(idOf(i))
		s.check(err)
		edits := rounds
		if i == 0 {
			edits += users * rounds
		}
		if int(token.Version) != 1+edits {
			s.Errorf("after %[3]d edits, token %[1]d has version %[2]d", i, token.Version, edits)
		}
		used, _, err := s.Usage(idOf(i), today, today)
		s.check(err)
		if used.Allowed != rounds {
			s.Errorf("token %d has %d allowed requests, want %d", i, used.Allowed, rounds)
		}
	}
	// Each contested digest belongs to exactly one token.
	if n := len(s.list(tokenstore.OrderCreated, nil, false)); n != users+rounds {
		s.Errorf("List returned %d tokens, want %d", n, users+rounds)
	}
	if n, want := len(s.entries()), users+users*rounds*2+rounds; n != want {
		s.Errorf("got %d audit entries, want %d", n, want)
	}
}
