package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestImportAgain imports a user record again after its tokens were rotated, narrowed and
// deleted, in the same process and in the next. None of the tokens may become valid again. The
// gate must never accept its own upstream token, which is also in the record, from a client.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	tokens := make(map[string]string)
	for _, name := range []string{"deleted", "rotated", "twice", "kept"} {
		tokens[name] = s.backend.AddToken("alice", name, 24*time.Hour)
	}
	var listed []string
	for name, value := range tokens {
		listed = append(listed, fmt.Sprintf(`{"name":%q,"value":%q,"expires_in":86400,"created_at":%q}`, name, value,
			time.Now().UTC().Format("2006-01-02 15:04:05-00:00")))
	}
	listed = append(listed, fmt.Sprintf(`{"name":"gate","value":%q,"expires_in":86400,"created_at":%q}`, s.upstream,
		time.Now().UTC().Format("2006-01-02 15:04:05-00:00")))
	record := s.write("user.json", `{"name":"alice","tokens":[`+strings.Join(listed, ",")+`]}`)

	ids := make(map[string]string)
	_, stderr, code := s.run("api-token", "import", record)
	if code != 0 || !strings.Contains(stderr, `"gate": it is the gate's upstream token`) ||
		!strings.Contains(stderr, "Imported 4 of 5 keys.") {
		t.Fatalf("got exit code %d: %s", code, stderr)
	}
	stdout, stderr, _ := s.run("api-token", "list", "--output", "json")
	var list []struct{ ID, Name string }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	for _, token := range list {
		ids[token.Name] = token.ID
	}
	status := func(token string) int {
		status, _, _ := curl(t, append(bearer(token), s.url("/api/unikernels"))...)
		return status
	}
	for name, value := range tokens {
		if got := status(value); got != http.StatusOK {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, args := range [][]string{
		{"delete", ids["deleted"], "--yes"},
		{"edit", ids["rotated"], "--scope", "unikernel:create"},
		{"rotate", ids["rotated"], "--grace", "0s", "--yes"},
		{"rotate", ids["twice"], "--grace", "30d"},
		{"rotate", ids["twice"], "--grace", "30d"},
	} {
		if _, stderr, code := s.run(append([]string{"api-token"}, args...)...); code != 0 {
			t.Fatalf("%q: %d %s", args, code, stderr)
		}
	}
	for _, when := range []string{"in the same process", "after a kill"} {
		_, stderr, code := s.run("api-token", "import", record)
		if code != 0 || !strings.Contains(stderr, "Imported 0 of 5 keys.") ||
			!strings.Contains(stderr, `skipped "kept": it is already imported`) {
			t.Errorf("%s: %d %s", when, code, stderr)
		}
		today := time.Now().UTC().Format(time.DateOnly)
		for _, name := range []string{"deleted", "rotated", "twice"} {
			if want := fmt.Sprintf("skipped %q: its secret was retired on %s", name,
				today); !strings.Contains(stderr, want) {
				t.Errorf("%s: the output %s lacks %s", when, stderr, want)
			}
			if got := status(tokens[name]); got != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d", name, when, got)
			}
		}
		if got := status(tokens["kept"]); got != http.StatusOK {
			t.Errorf("the kept token, %s: got status %d", when, got)
		}
		if got := status(s.upstream); got != http.StatusUnauthorized {
			t.Errorf("the gate's own token, %s: got status %d", when, got)
		}
		if when == "in the same process" {
			s.kill()
			s.start(plainSite)
		}
	}
	for _, secret := range tokens {
		s.checkLogs(secret)
	}
}
