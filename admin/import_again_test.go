package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// imports imports a user record. It returns the imported tokens' IDs and, by token name,
// the reasons for skipping the others.
func (f *fixture) imports(tokens ...string) (ids []string, skipped map[string]string) {
	f.t.Helper()
	w := f.do(http.MethodPost, "/import", `{"format":"mollymawk","data":`+userRecord(strings.Join(tokens, ","))+`}`)
	var got struct {
		Imported []string
		Skipped  []skippedImport
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		f.t.Fatalf("got status %d and body %s", w.Code, w.Body)
	}
	skipped = make(map[string]string)
	for _, s := range got.Skipped {
		skipped[s.Name] = s.Reason
	}
	return got.Imported, skipped
}

// TestImportEndedAgain verifies that a second import skips tokens whose secrets have been
// retired, and that it reports when and why they were retired.
func TestImportEndedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var tokens []string
	for i, name := range []string{"deleted",
		"rotated", "in its grace", "past its grace", "edited and rotated", "revoked",
		"unchanged"} {
		tokens = append(tokens, recordToken(name, fmt.Sprintf("0b5e7a52-6a31-4b8c-9d2f-%012d", i), 29030400, recently))
	}
	ids, skipped := f.imports(tokens...)
	if len(ids) != len(tokens) {
		t.Fatalf("got skipped tokens %v", skipped)
	}
	f.set(f.now.Load().Add(48 * time.Hour))
	for i, calls := range [][]string{
		{"DELETE "},
		{"POST /rotate " + `{"grace":"0s"}`},
		{"POST /rotate " + `{"grace":"24h"}`},
		{"POST /rotate " + `{"grace":"1h"}`},
		{"PATCH  " + `{"scopes":["unikernel:list"]}`, "POST /rotate " + `{"grace":"0s"}`},
		{"POST /revoke "},
		nil,
	} {
		for _, call := range calls {
			method, rest, _ := strings.Cut(call, " ")
			path, body, _ := strings.Cut(rest, " ")
			if w := f.do(method, "/tokens/"+ids[i]+path, body); w.Code >= 300 {
				t.Fatalf("%s: got status %d and body %s", call, w.Code, w.Body)
			}
		}
	}
	f.set(f.now.Load().Add(2 * time.Hour))
	ids, skipped = f.imports(tokens...)
	if len(ids) != 0 {
		t.Errorf("tokens were imported again: %v", ids)
	}
	const retired, already = "its secret was retired on 2026-03-03, when its token was rotated or deleted",
		"it is already imported"
	for name, want := range map[string]string{
		"deleted": retired, "rotated": retired, "past its grace": retired, "edited and rotated": retired,
		"in its grace": already, "revoked": already, "unchanged": already,
	} {
		if skipped[name] != want {
			t.Errorf("%s: got %q, want %q", name, skipped[name], want)
		}
	}
}

// TestImportUpstreamToken verifies that an import skips the gate's upstream token, but not
// the other tokens in the record.
func TestImportUpstreamToken(t *testing.T) {
	t.Parallel()
	upstream := map[string]bool{uuidTwo: true}
	f := newFixture(t, func(c *Config) {
		c.IsUpstreamToken = func(digest token.Digest) bool {
			for text := range upstream {
				if credential, err := testPolicy.Prefixes.Parse(text); err == nil && credential.Digest == digest {
					return true
				}
			}
			return false
		}
	})
	record := []string{
		recordToken("one", uuidOne, 29030400, recently),
		recordToken("two", uuidTwo, 29030400, recently),
		recordToken("broken", "nothing", 29030400, recently),
	}
	const reason = "it is the gate's upstream token; create separate keys for its clients"
	if ids, skipped := f.imports(record...); len(ids) != 1 || skipped["two"] != reason ||
		f.status(uuidOne) != "active" || f.status(uuidTwo) != "no such token" {
		t.Errorf("got IDs %v, skipped %v", ids, skipped)
	}
	// The configured token may change while the gate runs.
	delete(upstream, uuidTwo)
	upstream[uuidThree] = true
	record = append(record, recordToken("three", uuidThree, 29030400, recently))
	if ids, skipped := f.imports(record...); len(ids) != 1 || skipped["three"] != reason ||
		f.status(uuidTwo) != "active" {
		t.Errorf("got IDs %v, skipped %v", ids, skipped)
	}
}
