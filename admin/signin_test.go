package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestSignInLimitsBody verifies that the unauthenticated sign-in refuses long bodies without
// reading them.
func TestSignInLimitsBody(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	f, console := newSite(t)
	_, secret := console.create(`{"kind":"admin"}`)
	padded := func(length int) string {
		body := `{"token":"` + secret + `"}`
		return strings.Repeat(" ", length-len(body)) + body
	}
	if w := f.do(http.MethodPost, site+"/session", padded(maxSignIn)); w.Code != http.StatusOK {
		t.Errorf("%d bytes: got status %d and body %s", maxSignIn, w.Code, w.Body)
	}
	for _, body := range []string{padded(maxSignIn + 1), padded(maxBody), `{"token":"` + strings.Repeat("x", maxBody),
		strings.Repeat("[", maxSignIn+1)} {
		f.refused(f.do(http.MethodPost, site+"/session", body), 413, "body_too_large")
		r := httptest.NewRequest(http.MethodPost, site+"/session", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = -1 // not declared
		f.refused(f.serve(r), 413, "body_too_large")
	}
	declared := httptest.NewRequest(http.MethodPost, site+"/session", new(failing)) // fails when read
	declared.ContentLength = maxSignIn + 1
	declared.Header.Set("Content-Type", "application/json")
	f.refused(f.serve(declared), 413, "body_too_large")
}

// TestFailedSignInsCount verifies that every failed sign-in counts toward the failure limit,
// and that a valid key still signs in.
func TestFailedSignInsCount(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	for name, wrong := range map[string]func(f *fixture, console *fixture) *httptest.ResponseRecorder{
		"not JSON": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", `{"token"`)
		},
		"no body": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", ``)
		},
		"no token": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session",
				`{}`)
		},
		"another member": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", `{"key":"x"}`)
		},
		"another type": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", `{"token":5}`)
		},
		"given twice": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", `{"token":"a","token":"b"}`)
		},
		"nonsense": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", `{"token":"x"}`)
		},
		"unknown link": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", `{"code":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}`)
		},
		"unknown": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", `{"token":"`+vector+`"}`)
		},
		"too long": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", strings.Repeat(" ", maxSignIn+1))
		},
		"not a parameter": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session?x=1", `{"token":"x"}`)
		},
		"media type": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, site+"/session", `{"token":"x"}`, "Content-Type: ", "Content-Type: text/plain")
		},
		"plain HTTP": func(f, _ *fixture) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, "http://keys.example.com/session", `{"token":"x"}`)
		},
		"an API key": func(f, console *fixture) *httptest.ResponseRecorder {
			_, secret := console.create(`{}`)
			return f.do(http.MethodPost, site+"/session", `{"token":"`+secret+`"}`)
		},
		"a revoked key": func(f, console *fixture) *httptest.ResponseRecorder {
			id, secret := console.create(`{"kind":"admin"}`)
			console.do(http.MethodPost, "/tokens/"+id+"/revoke", "")
			return f.do(http.MethodPost, site+"/session", `{"token":"`+secret+`"}`)
		},
	} {
		f, console := newSite(t) // allows 40 failures
		for i := range 40 {
			if w := wrong(f, console); w.Code == http.StatusTooManyRequests || w.Code < 400 {
				t.Errorf("%s, attempt %d: got status %d and body %s", name, i+1, w.Code, w.Body)
				break
			}
		}
		w := wrong(f, console)
		f.refused(w, 429, "too_many_failures")
		if w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: got headers %v", name, w.Header())
		}
		_, secret := console.create(`{"kind":"admin"}`)
		if w, _ := f.signIn(site, secret); w.Code != http.StatusOK {
			t.Errorf("%s: a valid key was refused: got status %d and body %s", name, w.Code, w.Body)
		}
	}
}

// TestCrossSiteSignInsDontCount verifies that a page on another site can't use up its
// visitors' failure limit.
func TestCrossSiteSignInsDontCount(t *testing.T) {
	t.Parallel()
	f, _ := newSite(t)
	for range 50 {
		f.refused(f.do(http.MethodPost, "https://keys.example.com/session", `{"token":"x"}`,
			"Origin: https://evil.example"), 403, "cross_site")
	}
	f.refused(f.do(http.MethodPost, "https://keys.example.com/session", `{"token":"x"}`), 401, "malformed_token")
}

// TestSessionReads verifies that reads in a session, such as an open dashboard's polling,
// count as one use of the session's key per minute, and that every change counts.
func TestSessionReads(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	f, console := newSite(t)
	id, secret := console.create(`{"kind":"admin"}`)
	_, first := f.signIn(site, secret)
	_, second := f.signIn(site, secret)
	uses := func(want string) {
		t.Helper()
		got := console.do(http.MethodGet, "/tokens/"+id, "").Body.String()
		if !strings.Contains(got, `"usage_count":`+want+`,"denied_count":0`) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	read := func(cookie *http.Cookie) {
		t.Helper()
		for _, path := range []string{"/tokens", "/session", "/scopes", "/tokens/" + id, "/audit", "/nothing"} {
			if w := f.do(http.MethodGet, site+path, "", with(cookie)); w.Code != http.StatusOK && path != "/nothing" {
				t.Errorf("%s: got status %d", path, w.Code)
			}
		}
		for path, body := range map[string]string{"/lookup": `{"token":"` + secret + `"}`, "/explain": `{}`} {
			f.do(http.MethodPost, site+path, body, with(cookie))
		}
	}
	uses("2") // the sign-ins
	read(first)
	uses("3")
	for range 5 {
		f.pass(11 * time.Second)
		console.pass(11 * time.Second)
		read(first)
	}
	uses("3")
	read(second) // sessions count separately
	uses("4")
	console.pass(5 * time.Second)
	read(first)
	uses("5")
	for range 3 {
		f.do(http.MethodPost, site+"/tokens", goodBody, with(first))
	}
	uses("8")
	f.do(http.MethodPatch, site+"/tokens/"+id, `{"name":"x"}`, with(first))
	uses("9")
	read(first)
	uses("9")
	// Each read with a bearer token counts.
	for range 3 {
		f.do(http.MethodGet, site+"/tokens", "", "Authorization: Bearer "+secret)
	}
	uses("12")
	// After the clock is set back, reads still count.
	if now := *console.now.Load(); true {
		var s Sessions
		value, _, err := s.begin(t.Context(), console.store, owner{})
		if err != nil || !s.countRead(value, now) ||
			s.countRead(value, now.Add(time.Second)) ||
			!s.countRead(value, now.Add(-time.Hour)) {
			t.Error("no read counted after the clock was set back")
		}
	}
}

// TestManyMembers verifies the limit on the number of members at all levels. The limit
// exists because decoding a member takes longer than its length suggests.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":0`, i)
		}
		return strings.TrimPrefix(b.String(), ",")
	}
	f := newFixture(t)
	f.refused(f.do(http.MethodPost, "/tokens", `{`+members(1000)+`}`), 400, "invalid_field")
	for name, body := range map[string]string{
		"at the top":        `{` + members(1001) + `}`,
		"below it":          `{"metadata":{` + members(1000) + `}}`,
		"in several":        `{"metadata":{` + members(500) + `},"quota":{` + members(500) + `}}`,
		"in an array":       `{"scopes":[{` + members(1000) + `}]}`,
		"a hundred times":   `{` + members(80_000) + `}`,
		"elements":          `{"scopes":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`,
		"empty arrays":      `{"scopes":[` + strings.Repeat(`[],`, 300_000) + `0]}`,
		"empty objects":     `{"scopes":[` + strings.Repeat(`{},`, 300_000) + `0]}`,
		"arrays in objects": `{"x":[` + strings.Repeat(`{"a":[0]},`, 400) + `0]}`,
	} {
		for _, path := range []string{"/tokens", "/import", "/lookup", "/explain", "/clock"} {
			w := f.do(http.MethodPost, path, body)
			if got := f.refused(w, 400, "invalid_json"); !strings.Contains(fmt.Sprint(got["detail"]), "1000") {
				t.Errorf("%s to %s: got %v", name, path, got["detail"])
			}
		}
	}
	// The data to import has the same limit.
	f.refused(f.do(http.MethodPost, "/import", `{"format":"mollymawk","data":{"tokens":[],"cookies":{`+members(1000)+
		`}}}`), 400, "invalid_json")
	f.refused(f.do(http.MethodPost, "/introspect", "token=x"+strings.Repeat("&a", 1000), "Content-Type: ",
		"Content-Type: application/x-www-form-urlencoded"), 400, "invalid_parameter")
}

// TestManyParameters verifies that the cost of an unauthenticated call grows only linearly
// with its length.
func TestManyParameters(t *testing.T) {
	t.Parallel()
	f, _ := newSite(t)
	for name, query := range map[string]string{
		"unknown": strings.Repeat("a=b&", 100_000), "empty": strings.Repeat("&", 500_000),
		"one":   "limit=" + strings.Repeat("%20", 100_000),
		"names": strings.Repeat("%61", 200_000), "escapes": strings.Repeat("%", 500_000),
	} {
		begun := time.Now()
		for _, path := range []string{"/session", "/tokens"} {
			if w := f.do(http.MethodPost, "https://x"+path+"?"+query, `{}`); w.Code < 400 || w.Code >= 500 {
				t.Errorf("%s: got status %d", name, w.Code)
			}
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s: the call took too long: %v", name, took)
		}
	}
}
