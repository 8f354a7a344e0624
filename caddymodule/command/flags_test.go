package command

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestErrorsNameExistingFlags checks that no error names a flag that the command doesn't have,
// whichever field the server refuses.
func TestErrorsNameExistingFlags(t *testing.T) {
	t.Parallel()
	var field string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"code":"invalid_field","field":%[1]q,"detail":"%[1]s: is wrong; write null"}`, field)
	}))
	t.Cleanup(server.Close)
	record := filepath.Join(t.TempDir(), "record")
	if err := os.WriteFile(record, []byte(`{"tokens":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	all := &cobra.Command{Use: "api-token"}
	addVerbs(all, &console{out: new(bytes.Buffer), err: new(bytes.Buffer)})
	flag := regexp.MustCompile(`--[a-z-]+`)
	for _, field = range []string{"token", "token_id", "method", "path", "ip", "gate", "body", "resources", "data",
		"format", "account", "preset", "scopes", "name", "kind", "metadata", "allowed_ips", "rate_limit", "quota",
		"expires_in", "expires_at", "not_before", "previous_valid_until", "grace", "limit", "cursor", "sort", "q",
		"step", "from", "to", "actor", "action", "unknown_field"} {
		for _, line := range []string{
			"create --name a --expires-in 1d --preset a", "edit 000000000000 --name a", "rotate 000000000000", "list",
			"show 000000000000", "usage 000000000000 --step day", "audit", "refusals 000000000000", "import " + record,
			"explain GET / --token-id 000000000000", "lookup", "revoke 000000000000 --yes", "disable 000000000000",
			"delete 000000000000 --yes", "compact", "open", "status", "scopes", "clock accept --yes", "check",
			"cluster accept --yes", "restore " + record + " --shared --yes",
		} {
			args := strings.Fields(line)
			got := runCommand(&console{in: strings.NewReader(commandVector)}, append(args, "--address",
				server.Listener.Addr().String())...)
			text, _, _ := strings.Cut(got.err, "\nSee '")
			if got.code == exitOK || !strings.Contains(text, "is wrong; write none") {
				t.Errorf("%s refused: %s: got unexpected outcome %+v", field, line, got)
			}
			for _, name := range flag.FindAllString(text, -1) {
				if findVerb(all, args[0]).Flags().Lookup(name[2:]) == nil {
					t.Errorf("%s refused: %s has no %s: %s", field, line, name, text)
				}
			}
		}
	}
}
