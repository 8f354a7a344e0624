package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// long is metadata that makes a response long enough for encode to compress; encode skips
// short responses.
var long = map[string]string{"note": strings.Repeat("long ", 40)}

// TestEncodedAdminSite changes a token through Caddy's encode handler, sending back the ETag
// as received. encode appends the content coding to the ETag (caddyserver/caddy#7096).
func TestEncodedAdminSite(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(browserSite, "api_tokens_admin", "encode\n\tapi_tokens_admin", 1),
		mollymawktest.Options{})
	admin := s.token("--kind", "admin")
	call := func(method, path, body string, args ...string) (int, http.Header) {
		t.Helper()
		args = append(append(bearer(admin), "--compressed", "-H", "Host: keys.localhost", "-X", method), args...)
		if body != "" {
			args = append(args, "-H", jsonType, "-d", body)
		}
		status, header, _ := curl(t, append(args, s.url("/api/v1/tokens/"+path))...)
		return status, header
	}
	for _, coding := range []string{"gzip", "zstd"} {
		token := s.mint(map[string]any{"name": coding, "preset": "read", "expires_in": "1d", "metadata": long})
		for _, change := range []struct{ method, path, body string }{
			{"PATCH", "", `{"name":"changed"}`},
			{"POST", "/disable", ""},
			{"POST", "/enable", ""},
			{"POST", "/rotate", `{}`},
			{"POST", "/revoke", ""},
			{"DELETE", "", ""},
		} {
			_, header := call("GET", tokenID(token), "", "-H", "Accept-Encoding: "+coding)
			tag := header.Get("ETag")
			if !strings.HasSuffix(tag, "-"+coding+`"`) {
				t.Fatalf("the ETag is %s: the response isn't encoded", tag)
			}
			stale := strings.Replace(tag, `"`, `"9`, 1)
			for _, other := range []string{stale, "W/" + stale} {
				if status, _ := call(change.method, tokenID(token)+change.path, change.body, "-H",
					"If-Match: "+other); status != http.StatusPreconditionFailed {
					t.Errorf("%s %s, If-Match %s: status %d", change.method, change.path, other, status)
				}
			}
			if status, _ := call(change.method, tokenID(token)+change.path, change.body, "-H",
				"If-Match: "+tag); status/100 != 2 {
				t.Errorf("%s %s, If-Match %s: status %d", change.method, change.path, tag, status)
			}
		}
	}
}

// TestDashboardEncoded edits keys in a dashboard served through encode, including a key that
// someone else changes at the same time.
func TestDashboardEncoded(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(browserSite, "api_tokens_admin", "encode\n\tapi_tokens_admin", 1),
		mollymawktest.Options{})
	d := &dashboard{browser: newBrowser(t), site: s, url: "http://keys.localhost:" + s.env["HTTP"] + "/",
		admin: s.token("--kind", "admin", "--name", "carol")}
	key := s.mint(map[string]any{"name": "CI", "preset": "deploy", "expires_in": "1d", "metadata": long})
	d.open(d.url)
	d.signIn()
	d.page("#keys")
	d.act("CI", "Edit")
	d.shows("Edit key")
	d.fill("Name", "Shop CI")
	d.press("Save changes")
	d.shows(`Updated "Shop CI".`)
	d.cell("Shop CI", "name", "Shop CI")
	d.act("Shop CI", "Edit")
	d.shows("Edit key")
	s.caddy.call("PATCH", "tokens/"+tokenID(key), map[string]string{"name": "CI of somebody"}, http.StatusOK)
	d.fill("Name", "Other shop CI")
	d.press("Save changes")
	d.shows("Someone else changed this key while you were editing.")
	d.press("Save changes")
	d.shows(`Updated "Other shop CI".`)
	// Removing unused scopes and rotating also send If-Match.
	d.answers(key, http.StatusOK)
	d.page("#key/" + tokenID(key))
	d.shows("Remove 5 unused scopes…")
	d.press("Dismiss") // the note would be in the way
	d.press("Remove 5 unused scopes…")
	d.shows(`Remove unused scopes of "Other shop CI"`, "Scopes to keep")
	d.checkDialog()
	d.press("Remove unused scopes")
	d.shows(`Removed the unused scopes of "Other shop CI".`)
	d.press("Undo")
	d.shows(`Restored "Other shop CI".`)
	d.press("Rotate")
	d.shows("Create a new secret for this key?")
	d.press("Rotate")
	rotated := d.secret()
	d.keep()
	d.answers(rotated, http.StatusOK)
	d.checkQuiet("keys.localhost:" + s.env["HTTP"])
}
