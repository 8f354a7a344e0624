package admin

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

func TestGetShowsUse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{}`)
	f.pass(90 * time.Second)
	f.use(secret, 3, tokenstore.LastUse{
		Time: f.store.Now(), IP: netip.MustParseAddr("203.0.113.9").String(), UserAgent: "curl/8.9",
		Route: "GET /api/unikernels",
	})
	w := f.do(http.MethodGet, "/tokens/"+id, "")
	if want := `"usage_count":3,"denied_count":0,"last_used_at":"2026-03-01T12:01:30Z","last_used_ip":"203.0.113.9",` +
		`"last_used_user_agent":"curl/8.9","last_used_route":"GET /api/unikernels"`; !strings.Contains(w.Body.String(),
		want) {
		t.Errorf("got response %s", w.Body)
	}
}

func TestGetShowsTheStatusNow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{"expires_at":"2026-03-02T00:00:00Z","not_before":"2026-03-01T13:00:00Z"}`)
	for _, test := range []struct{ now, status string }{
		{"2026-03-01T12:59:59Z", "not_yet_valid"},
		{"2026-03-01T13:00:00Z", "active"},
		{"2026-03-01T23:59:59Z", "active"},
		{"2026-03-02T00:00:00Z", "expired"},
	} {
		now, err := time.Parse(time.RFC3339, test.now)
		if err != nil {
			t.Fatal(err)
		}
		f.set(now)
		if w := f.do(http.MethodGet, "/tokens/"+id, ""); !strings.Contains(w.Body.String(),
			`"status":"`+test.status+`"`) {
			t.Errorf("at %s: got %s, want %s", test.now, w.Body, test.status)
		}
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{"name":"old"}`)
	other, _ := f.create(`{"name":"other"}`)
	w := f.do(http.MethodDelete, "/tokens/"+id, "")
	if w.Code != http.StatusNoContent || w.Body.Len() != 0 {
		t.Errorf("got status %d and body %q", w.Code, w.Body)
	}
	credential, err := testPolicy.Prefixes.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Authenticate(credential, f.store.Now()); err == nil {
		t.Error("the deleted token is still accepted")
	}
	f.refused(f.do(http.MethodGet, "/tokens/"+id, ""), 404, "not_found")
	f.refused(f.do(http.MethodDelete, "/tokens/"+id, ""), 404, "not_found")
	if w := f.do(http.MethodGet, "/tokens", ""); !strings.Contains(w.Body.String(), other) ||
		strings.Contains(w.Body.String(), id) {
		t.Errorf("got list %s", w.Body)
	}
	if f.logs.FilterMessage("token deleted").Len() != 1 {
		t.Error("the deletion wasn't logged")
	}
}

func TestDeleteHonorsIfMatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	for _, tag := range []string{`"2"`, `W/"2"`, `1`, `"0", "3"`} {
		f.refused(f.do(http.MethodDelete, "/tokens/"+id, "", "If-Match: "+tag), 412, "precondition_failed")
	}
	if w := f.do(http.MethodDelete, "/tokens/"+id, "", `If-Match: "7", "1"`); w.Code != http.StatusNoContent {
		t.Errorf("got status %d and body %s", w.Code, w.Body)
	}
}

// TestPreviousSecret gets the last use of the secret that a rotation replaced.
func TestPreviousSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{}`)
	check := func(want string) {
		t.Helper()
		if got := f.do(http.MethodGet, "/tokens/"+id+"/previous", ""); got.Code != http.StatusOK ||
			got.Body.String() != want {
			t.Errorf("got status %d and body %s, want %s", got.Code, got.Body, want)
		}
	}
	none := `"last_used_at":null,"last_used_ip":null,"last_used_user_agent":null,"last_used_route":null}`
	check(`{"valid_until":null,` + none)
	f.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"1h"}`)
	check(`{"valid_until":"2026-03-01T13:00:00Z",` + none)
	f.use(secret, 1, tokenstore.LastUse{Time: start.Add(time.Minute), IP: "203.0.113.7", UserAgent: "curl/8.5.0",
		Route: "GET /api/unikernels"})
	check(
		`{"valid_until":"2026-03-01T13:00:00Z","last_used_at":"2026-03-01T12:01:00Z","last_used_ip":"203.0.113.7",` +
			`"last_used_user_agent":"curl/8.5.0","last_used_route":"GET /api/unikernels"}`)
	f.refused(f.do(http.MethodGet, "/tokens/000000000000/previous", ""), 404, "not_found")
}
