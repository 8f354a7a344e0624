package firstrun

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// TestFindPort checks that findPort detects a port that another program uses, even if it could be
// shared, and that the message names the program and the variable.
func TestFindPort(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "Othér/1.0 with a very long name, too long to show")
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for _, test := range []struct{ address, says string }{
		{server.Listener.Addr().String(), "is in use: Othr/1.0 with a very long name answers there with status 418"},
		{silent.Addr().String(), "is in use: a program there doesn't answer HTTP requests"},
	} {
		_, port, _ := net.SplitHostPort(test.address)
		t.Setenv(portVariable, port)
		_, err := findPort("the gate", portVariable, 1, map[string]bool{}, nil)
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), portVariable+"=") {
			t.Errorf("got error %v, want %q", err, test.says)
		}
		// A default port is replaced.
		t.Setenv(portVariable, "")
		n, _ := strconv.Atoi(port)
		var note string
		free, err := findPort("the gate", portVariable, n, map[string]bool{}, func(text string) { note = text })
		if err != nil || free == port || occupant(free) != "" || !strings.Contains(note, test.says) ||
			!strings.Contains(note, "using port "+free) {
			t.Errorf("got port %s, note %q, error %v", free, note, err)
		}
		t.Setenv(adminVariable, "localhost:"+port)
		_, err = findAdmin(map[string]bool{}, nil)
		if err == nil || !strings.Contains(err.Error(), adminVariable+"=") {
			t.Errorf("admin endpoint: got error %v", err)
		}
	}
	t.Setenv(portVariable, "1")
	t.Setenv(adminVariable, "localhost:1")
	_, portErr := findPort("the gate", portVariable, 2, map[string]bool{"1": true}, nil)
	_, adminErr := findAdmin(map[string]bool{"1": true}, nil)
	for _, err := range []error{portErr, adminErr} {
		if err == nil || !strings.Contains(err.Error(), "for another purpose by this command") {
			t.Errorf("a port for two purposes: got error %v", err)
		}
	}
	t.Setenv(adminVariable, "unix//run/x.sock")
	if got, err := findAdmin(map[string]bool{}, nil); got != "unix//run/x.sock" || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	for _, bad := range []string{"x", "0", "70000", "80a"} {
		t.Setenv(portVariable, bad)
		if _, err := findPort("the gate", portVariable, 1, map[string]bool{}, nil); err == nil {
			t.Errorf("port %s was accepted", bad)
		}
	}
}

// TestStored checks how numbers of keys are shown.
func TestStored(t *testing.T) {
	t.Parallel()
	for n, want := range map[stored]string{{1, 1}: "1 key", {1, 0}: "1 key, of which 0 can be used",
		{8, 8}: "8 keys", {8, 3}: "8 keys, of which 3 can be used", {maxCount, 3}: "at least 200 keys"} {
		if got := n.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestUnexpected checks what is said about arguments that belong behind api-token.
func TestUnexpected(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"list":             "run: go run ./cmd/firstrun api-token list",
		"show ci":          "run: go run ./cmd/firstrun api-token show …",
		"api-token list":   "run: go run ./cmd/firstrun api-token list\n",
		"api-token show a": "run: go run ./cmd/firstrun api-token show …\n",
		"api-token":        "run: go run ./cmd/firstrun api-token --help",
		"x":                `unexpected argument "x"; 'go run ./cmd/firstrun -help' shows the options`,
	} {
		if got := Unexpected(strings.Fields(line), []string{"list", "show"}); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	for line := range strings.SplitSeq(UsageBegin+UsageEnd+runningError{"process 4194304", DemoDir}.Error(), "\n") {
		if len(line) > width {
			t.Errorf("the line is too long: %s", line)
		}
	}
}

// TestScreen checks that no line is wider than a terminal, however long the data.
func TestScreen(t *testing.T) {
	t.Parallel()
	for _, i := range []instructions{
		{key: key{id: "4fQ9Zt2LkVb7", secret: strings.Repeat("x", 55)}, link: "http://localhost:65535/#signin=" +
			strings.Repeat("X", 26)},
		{keys: stored{1, 1}, link: "http://localhost:8082/#signin=x"},
		{keys: stored{maxCount, 3}, link: "http://localhost:8082/#signin=x", problem: strings.Repeat("word ", 40)},
	} {
		var out strings.Builder
		r := &run{Options: Options{Dir: DefaultDir, Out: &out}, screen: newScreen(&out),
			ports: ports{gate: "65535", dashboard: "65535", admin: "localhost:65535"}}
		r.instructions(i)
		r.goodbye()
		for line := range strings.SplitSeq(out.String(), "\n") {
			if n := len([]rune(line)); n > width {
				t.Errorf("a line has %d characters: %s", n, line)
			}
			if strings.Contains(line, "\x1b") {
				t.Errorf("not a terminal, but got a control sequence: %q", line)
			}
		}
		for _, once := range []string{i.link, i.key.secret} {
			if n := strings.Count(out.String(), once); once != "" && n != 1 {
				t.Errorf("%s is shown %d times", once, n)
			}
		}
	}
}
