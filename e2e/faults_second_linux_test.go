package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// another returns a Caddy that shares c's store but has its own ports and admin socket.
func (c *caddy) another(name string) *caddy {
	other := &caddy{t: c.t, dir: c.path(name), program: c.program, output: new(output), env: map[string]string{
		"DIR": c.path(name), "HTTP": freePort(c.t), "HTTPS": freePort(c.t), "STORE": c.env["STORE"],
	}}
	if err := os.MkdirAll(other.dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	return other
}

// faultSecond starts two processes with the same store at the same time. One must serve. The
// other must exit with an error that names the process holding the store and says what to do.
// TestSecondProcess starts the second process when the first is already serving.
func faultSecond(f *fault) {
	first := newCaddy(f.T, nil)
	first.env["STORE"] = first.path("tokens.db") // the first round creates the store
	token := ""
	for round := range f.size(2, 20) {
		both := []*caddy{first, first.another(fmt.Sprint("b", round))}
		f.random.Shuffle(2, func(i, j int) { both[i], both[j] = both[j], both[i] })
		for _, c := range both {
			c.launch(countingSite)
		}
		var winner, loser *caddy
		select {
		case <-both[0].exited:
			winner, loser = both[1], both[0]
		case <-both[1].exited:
			winner, loser = both[0], both[1]
		case <-time.After(exchangeTimeout):
			f.Fatal("both processes are still running")
		}
		winner.eventually("the other Caddy serves", winner.serves)
		if code := loser.cmd.ProcessState.ExitCode(); code == 0 {
			f.Errorf("the process without the store exited with code 0")
		}
		loser.cmd = nil
		said := loser.output.String()
		for _, want := range []string{winner.env["STORE"], fmt.Sprint("in use by process ", winner.cmd.Process.Pid),
			"caddy reload", "stop it"} {
			if !strings.Contains(said, want) {
				f.Errorf("the error lacks %q:\n%s", want, said)
			}
		}
		if token == "" {
			token = winner.token("--scope", "test:allowed")
		}
		winner.wantStatus("a token from the first round", token, http.StatusOK)
		winner.stop()
		if drafts, _ := filepath.Glob(first.path("tokens.db.new-*")); len(drafts) > 0 {
			f.Errorf("the processes left files behind: %v", drafts)
		}
		if f.Failed() {
			return
		}
	}
}
