package firstrun

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// width is the maximum width of a line.
const width = 80

// screen writes text for people.
type screen struct {
	out io.Writer
	// bold is set if out is a terminal that can show bold text.
	bold bool
}

// newScreen returns a screen. It follows https://no-color.org.
func newScreen(out io.Writer) screen {
	file, ok := out.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
	return screen{out: out, bold: terminal && os.Getenv("NO_COLOR") == ""}
}

// line writes a line. A failure can't be reported anywhere else.
func (s screen) line(text string) { _, _ = fmt.Fprintln(s.out, text) }

// note writes a sentence, broken into lines.
func (s screen) note(text string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			s.line(line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	s.line(line)
}

// section writes a heading and the indented lines below it.
func (s screen) section(heading string, lines ...string) {
	if s.bold {
		heading = "\x1b[1m" + heading + "\x1b[0m"
	}
	s.line("")
	s.line(heading)
	for _, line := range lines {
		s.line("  " + line)
	}
}

func (s screen) rule() { s.line(strings.Repeat("─", width)) }

// instructions are what a user needs to know.
type instructions struct {
	key key
	// keys are the keys that the store contained.
	keys stored
	// link is the sign-in link.
	link string
	// problem is what went wrong with the first requests, or "".
	problem string
}

// command returns a call of the command line, in as many lines as it needs.
func (r *run) command(arguments ...string) []string { return r.commandIn("", "", arguments...) }

// commandIn is like command, with text before and after the call.
func (r *run) commandIn(before, after string, arguments ...string) (lines []string) {
	if address := r.ports.admin; address != fmt.Sprint("localhost:", defaultAdmin) {
		arguments = append(arguments, "--address "+address) // adminVariable isn't set in other terminals
	}
	line := before + commandLine
	for _, argument := range arguments {
		if len(line)+len(argument) > width-6 {
			lines = append(lines, line+" \\")
			line = " "
		}
		line += " " + argument
	}
	return append(lines, line+after)
}

// instructions tells the user what to do next.
func (r *run) instructions(i instructions) {
	s := r.screen
	s.line("")
	s.rule()
	s.note("Mollygate is running in front of " + r.backend.name + ".")
	s.section("Dashboard", i.link, "This link signs you in once, within 10 minutes. For another one:")
	for _, line := range r.command("open") {
		s.line("  " + line)
	}
	if i.key.secret != "" {
		r.showKey(i.key)
	} else {
		r.showKeys(i.keys)
	}
	switch {
	case i.problem != "":
		s.section("The first requests didn't work as expected")
		s.note(i.problem + " See " + r.logFile() + ".")
	case i.key.secret != "":
		s.section("The first run sent 30 sample requests with this key",
			"2 of them were refused. The dashboard shows all 30.")
	}
	s.line("")
	s.note("Log: " + r.logFile() + ". Press Ctrl-C to stop.")
	s.rule()
}

// showKey shows how to use the key.
func (r *run) showKey(k key) {
	const call = `curl -H "Authorization: Bearer $MOLLYGATE_KEY" \`
	s := r.screen
	s.section("Call the backend with an API key, which is shown only now", "MOLLYGATE_KEY="+k.secret, call,
		"  "+r.ports.gateURL()+"/api/unikernels")
	s.section("A call that is refused, because the key lacks the scope unikernel:destroy", call,
		"  -d '{}' "+r.ports.gateURL()+refusedPath)
	s.section("Why is it refused?", r.command("explain", "POST "+refusedPath, "--token-id "+k.id)...)
}

// showKeys shows what to do if the store already contains keys.
func (r *run) showKeys(n stored) {
	s := r.screen
	s.section(r.Dir+" already contains "+n.String(), "Their secrets can't be shown again. To create another API key:")
	lines := r.commandIn("MOLLYGATE_KEY=$(", ")", "create", "--name another", "--preset deploy", "--expires-in 90d")
	lines = append(lines, "To create an admin key for the admin API:")
	for _, line := range append(lines, r.command("create", "--name admin", "--kind admin", "--expires-in 90d")...) {
		s.line("  " + line)
	}
	s.section("Call the backend", `curl -H "Authorization: Bearer $MOLLYGATE_KEY" \`,
		"  "+r.ports.gateURL()+"/api/unikernels")
}

// goodbye says how to come back and how to clean up.
func (r *run) goodbye() {
	again := Program
	switch {
	case r.Demo && r.Dir == DemoDir:
		again += " -demo"
	case r.Demo:
		again += " -demo -dir " + r.Dir
	case r.Dir != DefaultDir:
		again += " -dir " + r.Dir
	}
	r.screen.line("")
	r.screen.line("Stopped. Keys and their history are kept in " + r.Dir + ".")
	r.screen.line("Start again: " + again)
	r.screen.line("Clean up:    rm -r " + r.Dir)
}
