package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestIntrospectTimes verifies that an old secret expires at the end of its grace period or
// together with its token, whichever comes first, and that its introspection has no iat.
func TestIntrospectTimes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, old := f.create(`{}`)
	f.pass(time.Hour)
	current := readObject(t, f.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"24h","expires_in":"12h"}`),
		200)["token"].(string)
	const hour = 60 * 60
	for text, want := range map[string][2]any{
		old:     {nil, float64(start.Unix() + 13*hour)},
		current: {float64(start.Unix() + hour), float64(start.Unix() + 13*hour)},
	} {
		body, headers := form("token=" + text)
		got := readObject(t, f.do(http.MethodPost, "/introspect", body, headers...), 200)
		if got["iat"] != want[0] || got["exp"] != want[1] {
			t.Errorf("got iat and exp %v, want %v", []any{got["iat"], got["exp"]}, want)
		}
	}
	f.pass(12 * time.Hour)
	for _, text := range []string{old, current} {
		body, headers := form("token=" + text)
		if w := f.do(http.MethodPost, "/introspect", body, headers...); w.Body.String() != `{"active":false}` {
			t.Errorf("got response %s", w.Body)
		}
	}
	if w := f.do(http.MethodGet, "/tokens/"+id, ""); !strings.Contains(w.Body.String(),
		`"usage_count":0,"denied_count":0`) {
		t.Errorf("the introspection was counted: %s", w.Body)
	}
}

// TestIntrospectForm verifies that unknown parameters are ignored (RFC 6749 section 3.2),
// and that exactly one token is required.
func TestIntrospectForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, secret := f.create(`{}`)
	_, admin := f.create(`{"kind":"admin"}`)
	post := func(text string) *httptest.ResponseRecorder {
		body, headers := form(text)
		return f.do(http.MethodPost, "/introspect", body, headers...)
	}
	for _, text := range []string{
		"token=" + secret, "client_id=x&client_secret=y&token=" + secret,
		"token=" + strings.ReplaceAll(secret, "_", "%5F"), "token=" + secret + "&", "token=" + admin,
	} {
		w := post(text)
		if got := readObject(t, w, 200); got["active"] != true || strings.Contains(w.Body.String(), secret[17:]) ||
			strings.Contains(w.Body.String(), admin[17:]) {
			t.Errorf("%s: got response %s", text, w.Body)
		}
	}
	for _, text := range []string{
		"Token=" + secret, "token=" + secret + "&token=" + secret, "token=" + secret + "&token=",
		"token=" + secret + ";x=y", "token=" + secret + "&x=%zz", secret,
	} {
		w := post(text)
		f.refused(w, 400, "invalid_parameter", "parameter=token")
		if strings.Contains(w.Body.String(), secret[17:]) {
			t.Errorf("%s: the response repeats the secret", text)
		}
	}
	if got := readObject(t, post("token="+admin), 200); got["scope"] != nil || got["sub"] != nil ||
		got["kind"] != "admin" {
		t.Errorf("got %v", got)
	}
	f.refused(f.do(http.MethodPost, "/introspect", "token=x", "Content-Type: ",
		"Content-Type: application/x-www-form-urlencoded; charset=utf-16"), 415, "unsupported_media_type")
	f.refused(f.do(http.MethodPost, "/introspect", "token="+strings.Repeat("x", maxBody), "Content-Type: ",
		"Content-Type: application/x-www-form-urlencoded"), 413, "body_too_large")
	f.refused(f.do(http.MethodGet, "/introspect?token=x", ""), 405, "method_not_allowed")
}
