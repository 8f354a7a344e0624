package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// TestTokenUsage reads ranges of a token's usage history by hour and by day.
func TestTokenUsage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{}`)
	match, err := f.authenticate(secret)
	if err != nil {
		t.Fatal(err)
	}
	begin := *f.now.Load()
	for _, after := range []time.Duration{0, 30 * time.Minute, 90 * time.Minute, 25 * time.Hour} {
		f.set(begin.Add(after))
		f.use(secret, 2, tokenstore.LastUse{Time: begin.Add(after)})
	}
	f.store.CountDenied(match, tokenstore.Refusal{Time: begin, Code: "route_not_allowed"})
	f.store.CountDenied(match, tokenstore.Refusal{Time: begin.Add(25 * time.Hour), Scope: "unikernel:create",
		Code: "insufficient_scope"})
	// start is 2026-03-01 12:00.
	for query, want := range map[string]string{
		"": `{"step":"day","data":[{"time":"2026-03-01T00:00:00Z","scope":null,"outcome":"route_not_allowed",` +
			`"count":1},` +
			`{"time":"2026-03-01T00:00:00Z","scope":"unikernel:list","outcome":"ok","count":6},` +
			`{"time":"2026-03-02T00:00:00Z","scope":"unikernel:create","outcome":"insufficient_scope","count":1},` +
			`{"time":"2026-03-02T00:00:00Z","scope":"unikernel:list","outcome":"ok","count":2}]}`,
		"step=hour&to=2026-03-02T00:00:00Z": `{"step":"hour","data":[{"time":"2026-03-01T12:00:00Z","scope":null,` +
			`"outcome":"route_not_allowed","count":1},` +
			`{"time":"2026-03-01T12:00:00Z","scope":"unikernel:list","outcome":"ok","count":4},` +
			`{"time":"2026-03-01T13:00:00Z","scope":"unikernel:list","outcome":"ok","count":2}]}`,
		"step=hour&from=2026-03-02T01:00:00%2B01:00&to=2026-03-02T13:00:00Z": `{"step":"hour","data":[]}`,
		"step=day&from=2026-03-02T13:30:00Z&to=2026-03-02T13:31:00Z": `{"step":"day","data":[` +
			`{"time":"2026-03-02T00:00:00Z","scope":"unikernel:create","outcome":"insufficient_scope","count":1},` +
			`{"time":"2026-03-02T00:00:00Z","scope":"unikernel:list","outcome":"ok","count":2}]}`,
		"from=2020-01-01T00:00:00Z&to=2020-01-01T00:00:00Z": `{"step":"day","data":[]}`,
		"from=2030-01-01T00:00:00Z":                         `{"step":"day","data":[]}`,
	} {
		w := f.do(http.MethodGet, "/tokens/"+id+"/usage?"+query, "")
		if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != want {
			t.Errorf("%q: got status %d and body %s\nwant %s", query, w.Code, got, want)
		}
	}
	for query, parameter := range map[string]string{
		"step=week": "step", "step=": "step", "from=yesterday": "from", "to=1767225600": "to", "from=": "from",
		"from=2026-03-01": "from",
		"from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z": "to", "by=scope": "by", "step=day&step=day": "step",
		"to=0000-01-01T00:00:00Z": "to",
	} {
		f.refused(f.do(http.MethodGet, "/tokens/"+id+"/usage?"+query, ""), 400, "invalid_parameter",
			"parameter="+parameter)
	}
	f.refused(f.do(http.MethodGet, "/tokens/000000000000/usage", ""), 404, "not_found")
	f.refused(f.do(http.MethodGet, "/tokens/"+secret+"/usage", ""), 400, "token_in_url")
	f.refused(f.do(http.MethodPost, "/tokens/"+id+"/usage", `{}`), 405, "method_not_allowed")
	unused, _ := f.create(`{}`)
	if got := readObject(t, f.do(http.MethodGet,
		"/tokens/"+unused+"/usage", ""), 200); fmt.Sprint(got["data"]) != "[]" {
		t.Errorf("an unused token: got %v", got)
	}
}
