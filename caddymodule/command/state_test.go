package command

import (
	"strings"
	"testing"
	"time"
)

func TestCommandStates(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	a, first := s.create(t, "--name", "a")
	b, second := s.create(t, "--name", "b")
	if got := s.run("disable", a, b); got.code != exitOK || s.present(t, first) != "disabled" ||
		s.present(t, second) != "disabled" {
		t.Errorf("disable: got unexpected outcome %+v", got)
	}
	if got := s.run("enable", a, "000000000000", b); got.code != exitNotFound || s.present(t, first) != "active" ||
		s.present(t, second) != "active" {
		t.Errorf("enable: got unexpected outcome %+v", got)
	}
	waited := false
	c := &console{after: func(d time.Duration) <-chan time.Time {
		waited = d == responsesEnd
		return time.After(0)
	}}
	if got := runCommand(c, "revoke", a, "--yes", "--wait", "--address", s.address()); got.code != exitOK || !waited ||
		s.present(t, first) != "revoked" {
		t.Errorf("revoke --wait: got %+v, waited %t", got, waited)
	}
	// The command continues after it encounters a token with the wrong status.
	if got := s.run("enable", a, b); got.code != exitConflict || !strings.Contains(got.err, "permanently") ||
		!strings.Contains(got.err, `Enabled "b" (`+b) {
		t.Errorf("enable: got unexpected outcome %+v", got)
	}
	if got := runAsked("no\n", "revoke", b, "--address", s.address()); got.code != exitRefused ||
		!strings.Contains(got.err, b+"  b\n  active, never used\nRevoke \"b\"? It stops working immediately") ||
		s.present(t, second) != "active" {
		t.Errorf("revoke: got unexpected outcome %+v", got)
	}
}
