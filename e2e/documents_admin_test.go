package e2e

import (
	"encoding/json"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// checkSameShape checks that two JSON objects, one from a page and one from the API, have the
// same members at every level.
func checkSameShape(t *testing.T, shown, got string) {
	t.Helper()
	var values [2]any
	for i, text := range []string{shown, got} {
		if err := json.Unmarshal([]byte(text), &values[i]); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	if want := shapeOf(values[0]); !reflect.DeepEqual(shapeOf(values[1]), want) {
		t.Errorf("got response\n%s\nbut the page shows\n%s", got, shown)
	}
}

// shapeOf returns a JSON value with every number replaced by zero.
func shapeOf(value any) any {
	switch value := value.(type) {
	case map[string]any:
		shape := make(map[string]any)
		for name, member := range value {
			shape[name] = shapeOf(member)
		}
		return shape
	case float64:
		return 0
	}
	return value
}

// shownJSON returns the first JSON in docs/admin.md that contains a text.
func shownJSON(t *testing.T, text string) string {
	t.Helper()
	for _, b := range fenced(t, "docs/admin.md", "json") {
		if strings.Contains(b.text, text) {
			return b.text
		}
	}
	t.Fatalf("docs/admin.md shows no JSON with %s", text)
	return ""
}

// TestAdminPage runs the commands from docs/admin.md, which use the command line and a site's
// admin API.
func TestAdminPage(t *testing.T) {
	t.Parallel()
	s := startSite(t, browserSite, mollymawktest.Options{})
	admin, one, other := s.token("--kind", "admin"), s.token("--preset", "deploy"), s.token("--preset", "deploy")
	s.shell()
	s.env["ADMIN_TOKEN"] = admin
	for _, args := range [][]string{
		{"init", "-q"},
		{"-c", "user.name=e2e", "-c", "user.email=e2e@localhost", "commit", "-q", "--allow-empty", "-m",
			"a leaked key: " + one},
	} {
		git := exec.Command("git", args...)
		git.Dir = s.dir
		if out, err := git.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args[0], err, out)
		}
	}
	const patched = `{"owner":null}}' "$BASE/tokens/`
	script := commands(t, "docs/admin.md", nil,
		change{"https://keys.molly.example.com/api/v1", "http://keys.localhost:" + s.env["HTTP"] + "/api/v1",
			"the site has another address"},
		change{"curl -H", "curl -sS --fail-with-body -H", "to see a refusal"},
		change{`If-Match: "3"`, `If-Match: "1"`, "a new token has another ETag"},
		change{patched + "4fQ9Zt2LkVb7", patched + tokenID(other), "the previous token was deleted"},
		change{"4fQ9Zt2LkVb7", tokenID(one), "the token has another ID"},
		change{"# ends with 4 if there are any", "|| [ $? = 4 ]", "the test created a token that lasts 12 hours"},
		change{"# ends with 4 if it would be refused", "|| [ $? = 4 ]", "the token has been revoked by then"},
		change{"# ends with 4 if it finds any", "|| [ $? = 4 ]", "the test committed a token"},
	)
	out, err := s.bash(script)
	if err != nil {
		t.Fatalf("%v:\n%s", err, redacted(out))
	}
	for _, want := range []string{"refused with 401 revoked_token", "-:5", `"next_cursor":null`, `{"before":`,
		`"preset`, `"203.0.113.0/24"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, redacted(out))
		}
	}
	checkNoSecret(t, "the output", out, admin)
	s.checkLogs(admin, one, other)

	// The history shown on the page must have the same members as a real one.
	if status, _, body := curl(t, append(bearer(other), s.url("/api/unikernels"))...); status == 200 {
		t.Errorf("the gate allowed a token restricted to other addresses: %s", body)
	}
	var shownRefusals, refusals struct{ Data []map[string]any }
	for text, into := range map[string]any{
		shownJSON(t, `"code": "insufficient_scope"`):                        &shownRefusals,
		s.getAdmin("/api_tokens/v1/tokens/" + tokenID(other) + "/refusals"): &refusals,
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	if len(refusals.Data) == 0 || !slices.Equal(slices.Sorted(maps.Keys(refusals.Data[0])),
		slices.Sorted(maps.Keys(shownRefusals.Data[0]))) {
		t.Errorf("got refusals %v", refusals.Data)
	}
	checkSameShape(t, shownJSON(t, `"checks"`), s.getAdmin("/api_tokens/v1/healthz"))
	type history struct {
		Step string
		Data []map[string]any
	}
	var shown, told history
	for text, into := range map[string]*history{
		shownJSON(t, `"step":"day"`): &shown,
		s.getAdmin("/api_tokens/v1/tokens/" + tokenID(other) + "/usage?step=day"): &told,
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil || len(into.Data) != 1 {
			t.Fatalf("%v: %s", err, text)
		}
	}
	if keys := slices.Sorted(maps.Keys(told.Data[0])); !slices.Equal(keys, slices.Sorted(maps.Keys(shown.Data[0]))) {
		t.Errorf("a history entry has members %q", keys)
	}
}
