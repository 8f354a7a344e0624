package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// handbookWant holds the outcome of each example in Mollymawk's handbook, for a current
// Mollymawk and one from 2025: "works", or the status and, for a refusal, its code and the
// backend's message. After a change, copy the outcomes that the test prints.
var handbookWant = map[string][2]string{
	"Authentication":           {"works", "works"},
	"List unikernels":          {"works", "works"},
	"Deploy a unikernel":       {"works", "works"},
	"Destroy a Unikernel":      {"works", "works"},
	"Restart a Unikernel":      {"works", "works"},
	"Stream Unikernel Console": {"works", "works"},
	"Create a block device": {
		"400 invalid_request_body: Mollymawk reads a form in order: send json_data before block_data.",
		"400 invalid_request_body: Mollymawk reads a form in order: send json_data before block_data."},
	"Delete a block device": {
		"400 invalid_request_body: The JSON has a trailing comma before the } at byte 76; remove the comma.",
		"400 invalid_request_body: The JSON has a trailing comma before the } at byte 76; remove the comma."},
	"Upload Data to a block device": {
		"400 invalid_request_body: Mollymawk reads a form in order: send json_data before block_data.",
		"400 invalid_request_body: Mollymawk reads a form in order: send json_data before block_data."},
	"Downloading Data from a block device": {
		"400 invalid_request_body: The JSON has a trailing comma before the } at byte 103; remove the comma.",
		"400 invalid_request_body: The JSON has a trailing comma before the } at byte 103; remove the comma."},
	"Create a new API Key (Token)":       {"403 route_not_allowed", "403 route_not_allowed"},
	"Upade an API Key":                   {"403 route_not_allowed", "403 route_not_allowed"},
	"Delete an API Key":                  {"403 route_not_allowed", "403 route_not_allowed"},
	"Retry Albatross Connection (Admin)": {"403 route_not_allowed", "403 route_not_allowed"},
}

// example is a curl command from the handbook, named after its heading.
type example struct{ name, command string }

func handbook(t *testing.T) (list []example) {
	t.Helper()
	data, err := os.ReadFile("testdata/handbook.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(data), "\n## ")[1:] {
		name, command, _ := strings.Cut(part, "\n")
		list = append(list, example{name, strings.TrimSpace(command)})
	}
	return list
}

// TestHandbook runs the examples in Mollymawk's handbook, which users start from, with the
// installed curl. It replaces only the address, the token, the account and the file names.
func TestHandbook(t *testing.T) {
	t.Parallel()
	examples := handbook(t)
	if len(examples) != len(handbookWant) {
		t.Errorf("the handbook has %d examples, handbookWant has %d", len(examples), len(handbookWant))
	}
	for i, name := range []string{"current", "2025"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, strings.Replace(plainSite, "routes {$ROUTES:mollymawk}",
				"routes {$ROUTES:mollymawk}\n\t\t\tbrowser_sessions molly_session", 1),
				mollymawktest.Options{Generation: generations[name], Instances: []string{"eu-west-2", "default"}})
			token := s.token("--preset", "full")
			for _, e := range examples {
				if got, want := s.follow(t, token, e), handbookWant[e.name][i]; got != want {
					t.Errorf("%q, Mollymawk %s: got %q, want %q", e.name, name, got, want)
				}
			}
			s.checkLogs(token)
		})
	}
}

// TestHandbookSpooled runs the examples that send the file before another field, which works
// with spool_uploads. Mollymawk refuses the block name in one of them.
func TestHandbookSpooled(t *testing.T) {
	t.Parallel()
	s := startSite(t, formSite("spool_uploads "+t.TempDir()), mollymawktest.Options{Instances: []string{"eu-west-2"}})
	token := s.token("--preset", "full")
	want := map[string]string{
		"Create a block device": "400: Invalid block name: invalid label " +
			"(only [a-zA-Z0-9-.] allowed, 1 to 63 chars)",
		"Upload Data to a block device": "works",
	}
	for _, e := range handbook(t) {
		if want[e.name] == "" {
			continue
		}
		if got := s.follow(t, token, e); got != want[e.name] {
			t.Errorf("%q: %q, want %q", e.name, got, want[e.name])
		}
	}
}

// follow creates everything that an example needs, runs the example, and returns its outcome.
func (s *site) follow(t *testing.T, token string, e example) string {
	t.Helper()
	const instance, unikernel = "eu-west-2", "hello-world"
	if needsUnikernel := regexp.MustCompile(`^(Destroy|Restart|Stream) `); needsUnikernel.MatchString(e.name) &&
		!s.backend.Emit("alice", instance, unikernel, "hello") {
		s.backend.AddUnikernel("alice", instance, unikernel)
		s.backend.Emit("alice", instance, unikernel, "hello")
	}
	for _, block := range []string{"my-data-vol", "vol1"} {
		if _, ok := s.backend.Block("alice", instance, block); !ok {
			s.backend.AddBlock("alice", instance, block, 1, nil)
		}
	}
	command := strings.NewReplacer(
		"https://mollymawk.test", s.url(""), "<access_token>", token, "<existing_token>", token,
		"user@example.com", "alice@example.com", "password123", mollymawktest.Password,
		"/path/to/hello_world.hvt", s.write("image.hvt", unikernelImage),
		"/path/to/disk_image.img", s.write("disk.img", "a disk"), "/path/to/image.iso",
		s.write("image.iso", "an image"),
	).Replace(e.command)
	const end = "\nstatus "
	script := `curl() { command curl -sS --max-time 3 -w '` + end + `%{http_code}' "$@"; }` + "\n" + command
	bash := exec.CommandContext(t.Context(), "bash", "-c", script)
	bash.Dir = s.dir
	out, err := bash.Output()
	body, status, ok := strings.Cut(string(out), end)
	if !ok {
		return fmt.Sprintf("no response: %v", err)
	}
	if e.name != "Authentication" { // its response is the user's entire record
		checkNoSecret(t, "the response", body, s.upstream)
	}
	if strings.Contains(command, "--output data_vol_1_dump.img") {
		data, _ := os.ReadFile(s.path("data_vol_1_dump.img"))
		body = string(data)
	}
	const over = 28 // curl's exit status on a timeout, because a console doesn't end
	if status == "200" && (err == nil || strings.HasPrefix(body, "data:") && bash.ProcessState.ExitCode() == over) {
		return "works"
	}
	var said struct {
		Code        string
		Data        any
		BackendCode string `json:"backend_code"`
	}
	_ = json.Unmarshal([]byte(body), &said) // fails if the body isn't JSON
	text := strings.Join(strings.Fields(strings.Join([]string{status, said.Code, said.BackendCode}, " ")), " ")
	if data, _ := said.Data.(string); said.Code == "" || said.Code == "invalid_request_body" ||
		strings.HasPrefix(said.Code, "backend_") {
		text += ": " + data
	}
	return text
}
