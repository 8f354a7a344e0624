package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// TestLookup finds tokens by their secret, whatever their status.
func TestLookup(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{}`)
	admin, adminSecret := f.create(`{"kind":"admin"}`)
	rotated := readObject(t, f.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"1h"}`), 200)["token"].(string)
	f.do(http.MethodPost, "/tokens/"+id+"/disable", "")
	for text, want := range map[string]string{secret: id, rotated: id, adminSecret: admin} {
		w := f.do(http.MethodPost, "/lookup", `{"token":"`+text+`"}`)
		got := readObject(t, w, http.StatusOK)
		if got["id"] != want || strings.Contains(w.Body.String(), text[17:]) {
			t.Errorf("got %v, want %s", got["id"], want)
		}
		if got["usage_count"] != 0.0 {
			t.Errorf("the lookup was counted: %v", got)
		}
	}
	for _, text := range []string{vector, "x", "", secret[:54], "d9428888-122b-41e1-b85c-61fa1f9d5c2e", secret + " "} {
		f.refused(f.do(http.MethodPost, "/lookup", `{"token":"`+text+`"}`), 404, "not_found")
	}
	f.refused(f.do(http.MethodPost, "/lookup", `{}`), 400, "invalid_field", "field=token")
	f.refused(f.do(http.MethodPost, "/lookup", `{"token":7}`), 400, "invalid_field", "field=token")
	f.refused(f.do(http.MethodGet, "/lookup", ""), 405, "method_not_allowed")
}

// TestAudit verifies that every change adds an audit entry with the actor and the changes
// but no secrets, and that the newest entry is listed first.
func TestAudit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{"name":"first"}`)
	other, _ := f.create(`{"name":"other"}`)
	for _, call := range []struct{ method, path, body string }{
		{http.MethodPatch, "", `{"name":"second","preset":"full"}`},
		{http.MethodPost, "/rotate", `{"grace":"1h"}`},
		{http.MethodPost, "/disable", ""},
		{http.MethodPost, "/enable", ""},
		{http.MethodPost, "/revoke", ""},
		{http.MethodDelete, "", ""},
	} {
		f.pass(time.Minute)
		if w := f.do(call.method, "/tokens/"+id+call.path, call.body); w.Code/100 != 2 {
			t.Fatalf("%s %s: got response %s", call.method, call.path, w.Body)
		}
	}
	var page struct {
		Data []struct {
			Time, Actor, Action, Address string
			TokenID                      *string `json:"token_id"`
			TokenName                    string  `json:"token_name"`
			Changes                      map[string]string
		}
		NextCursor *string `json:"next_cursor"`
	}
	read := func(query string) []string {
		t.Helper()
		w := f.do(http.MethodGet, "/audit?"+query, "")
		page.Data, page.NextCursor = nil, nil
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
			t.Fatalf("got status %d and body %s", w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), secret[17:]) {
			t.Error("the audit log contains a secret")
		}
		var actions []string
		for _, line := range page.Data {
			actions = append(actions, line.Action)
			if line.Actor != "caddy-admin" || line.Address != "127.0.0.1" || line.TokenID == nil {
				t.Errorf("got %+v", line)
			}
		}
		return actions
	}
	want := []string{"delete", "revoke", "enable", "disable", "rotate", "edit", "create"}
	if got := read("token_id=" + id); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if edit := page.Data[5]; edit.Time != "2026-03-01T12:01:00Z" ||
		fmt.Sprint(edit.Changes) != "map[name:first -> second scopes:unikernel:list volume:list -> *]" {
		t.Errorf("got %+v", edit)
	}
	var pages []string
	for cursor := ""; ; cursor = "&cursor=" + *page.NextCursor {
		pages = append(pages, read("limit=3"+cursor)...)
		f.do(http.MethodPost, "/tokens/"+other+"/disable", "")
		f.do(http.MethodPost, "/tokens/"+other+"/enable", "") // newer than any entry listed so far
		if page.NextCursor == nil {
			break
		}
	}
	if !slices.Equal(pages, append(want[:6:6], "create", "create")) {
		t.Errorf("reading in pages: got %q", pages)
	}
	for query, want := range map[string][]string{
		"from=2026-03-01T12:05:00Z": {"revoke", "delete"}, "from=2026-03-01T12:06:01Z": nil,
		"to=2026-03-01T12:02:00Z": {"create", "edit"}, "to=2026-03-01T11:00:00Z": nil,
		"from=2026-03-01T12:02:00Z&to=2026-03-01T12:04:00Z": {"rotate", "disable"},
		"from=2026-03-01T12:00:00Z&to=2026-03-01T12:05:00Z": {"create", "edit", "rotate", "disable", "enable"},
	} {
		var got []string
		for cursor := ""; ; cursor = "&cursor=" + *page.NextCursor {
			got = append(got, read("limit=2&token_id="+id+"&"+query+cursor)...)
			if page.NextCursor == nil {
				break
			}
		}
		if slices.Reverse(got); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	if got := read("action=rotate"); !slices.Equal(got, []string{"rotate"}) {
		t.Errorf("got %q", got)
	}
	if got := read("actor=nobody"); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	for query, parameter := range map[string]string{
		"limit=0": "limit", "limit=201": "limit", "cursor=x": "cursor", "cursor=": "cursor", "token_id=x": "token_id",
		"from=1": "from",
		"actor=": "actor", "action=": "action", "token_id=": "token_id", "actor=a&actor=b": "actor",
		"cursor=" + position{id: token.ID([]byte(other))}.cursor(sorting{sortCreatedAt, true}): "cursor",
	} {
		f.refused(f.do(http.MethodGet, "/audit?"+query, ""), 400, "invalid_parameter", "parameter="+parameter)
	}
	f.refused(f.do(http.MethodGet, "/audit?actor="+uuidOne, ""), 400, "token_in_url")
	f.refused(f.do(http.MethodGet, "/audit?token_id="+uuidOne, ""), 400, "token_in_url")
}

// TestAuditCursor verifies that changed and truncated cursors are refused.
func TestAuditCursor(t *testing.T) {
	t.Parallel()
	at := tokenstore.AuditPosition{Time: start, Sequence: 1 << 40}
	cursor := auditCursor(at)
	if got, ok := parseAuditCursor(cursor); !ok || *got != at {
		t.Errorf("got %v, %v", got, ok)
	}
	for i := range cursor {
		altered := []byte(cursor)
		altered[i] ^= 1
		if got, ok := parseAuditCursor(string(altered)); ok {
			t.Errorf("%s was parsed as %v", altered, got)
		}
	}
	for _, cut := range []string{cursor[1:], cursor[:len(cursor)-1], cursor + "A", cursor + "="} {
		if got, ok := parseAuditCursor(cut); ok {
			t.Errorf("%s was parsed as %v", cut, got)
		}
	}
}

func form(values string) (string, []string) {
	return values, []string{"Content-Type: ", "Content-Type: application/x-www-form-urlencoded"}
}

func TestIntrospect(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, old := f.create(`{"preset":"read","account":"alice","name":"ci","not_before":"2026-02-01T00:00:00Z"}`)
	current := readObject(t, f.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"1h"}`), 200)["token"].(string)
	_, admin := f.create(`{"kind":"admin","name":"ops"}`)
	disabledID, disabled := f.create(`{}`)
	f.do(http.MethodPost, "/tokens/"+disabledID+"/disable", "")
	_, early := f.create(`{"not_before":"2026-03-02T00:00:00Z"}`)
	for text, want := range map[string]string{
		current: `{"active":true,"scope":"unikernel:list volume:list","token_type":"Bearer","jti":"` + id +
			`","sub":"alice","username":"alice","iat":1772366400,"nbf":1769904000,"exp":1780142400,"name":"ci",` +
			`"kind":"api"}`,
		old: `{"active":true,"scope":"unikernel:list volume:list","token_type":"Bearer","jti":"` + id +
			`","sub":"alice","username":"alice","nbf":1769904000,"exp":1772370000,"name":"ci","kind":"api"}`,
		admin:    `"kind":"admin"`,
		disabled: `{"active":false}`,
		early:    `{"active":false}`,
		vector:   `{"active":false}`,
		"x":      `{"active":false}`,
	} {
		body, headers := form("token_type_hint=access_token&token=" + text)
		w := f.do(http.MethodPost, "/introspect", body, headers...)
		if got := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(got, want) ||
			strings.Contains(want, "{") && got != want {
			t.Errorf("got status %d and body %s, want %s", w.Code, got, want)
		}
	}
	for _, body := range []string{"", "token=", "x=y", "token=a&token=b", "token=%zz"} {
		text, headers := form(body)
		if body == "token=" {
			if w := f.do(http.MethodPost, "/introspect", text, headers...); w.Body.String() != `{"active":false}` {
				t.Errorf("an empty token: got response %s", w.Body)
			}
			continue
		}
		r := httptest.NewRequest(http.MethodPost, "/introspect", strings.NewReader(text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		f.refused(f.serve(r), 400, "invalid_parameter", "parameter=token")
	}
	f.refused(f.do(http.MethodPost, "/introspect", `{"token":"x"}`), 415, "unsupported_media_type")
	// Pages on other sites can submit forms.
	body, headers := form("token=" + current)
	f.refused(f.do(http.MethodPost, "/introspect", body, append(headers, "Sec-Fetch-Site: cross-site")...), 403,
		"cross_site")
	f.pass(time.Hour)
	body, headers = form("token=" + old)
	if w := f.do(http.MethodPost, "/introspect", body, headers...); w.Body.String() != `{"active":false}` {
		t.Errorf("after the grace period: got response %s", w.Body)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, secret := f.create(`{}`)
	_, second := f.create(`{}`)
	f.create(`{"expires_in":60}`)
	f.create(`{"not_before":"2026-03-02T00:00:00Z"}`)
	for _, action := range []string{"disable", "revoke", "revoke"} {
		id, _ := f.create(`{}`)
		f.do(http.MethodPost, "/tokens/"+id+"/"+action, "")
	}
	f.use(secret, 3, tokenstore.LastUse{Time: f.store.Now()})
	f.use(second, 4, tokenstore.LastUse{Time: f.store.Now()})
	credential, err := testPolicy.Prefixes.Parse(second)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		match, err := f.store.Authenticate(credential, f.store.Now())
		if err != nil {
			t.Fatal(err)
		}
		f.store.CountDenied(match, tokenstore.Refusal{Time: f.store.Now(), Scope: "unikernel:create",
			Code: "insufficient_scope"})
	}
	f.pass(time.Minute)
	want := `{"tokens":{"active":2,"expired":1,"not_yet_valid":1,"disabled":1,"revoked":2,"damaged":0},` +
		`"requests":{"ok":7,"denied":5}}`
	if w := f.do(http.MethodGet, "/stats", ""); w.Body.String() != want {
		t.Errorf("got status %d and body %s", w.Code, w.Body)
	}
}

// TestBackup verifies that a backup is a valid store.
func TestBackup(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{}`)
	f.use(secret, 3, tokenstore.LastUse{Time: f.store.Now()})
	w := f.do(http.MethodGet, "/backup", "")
	if got := w.Header().Get("Content-Length"); got != fmt.Sprint(w.Body.Len()) {
		t.Errorf("got Content-Length %s for %d bytes", got, w.Body.Len())
	}
	if got := w.Header().Get("Content-Disposition"); got != `attachment; filename="mollygate-20260301T120000Z.db"` {
		t.Errorf("got Content-Disposition %q", got)
	}
	path := filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(path, w.Body.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if report, err := bolt.Check(path); err != nil || len(report.Problems) > 0 || report.Tokens != 1 {
		t.Fatalf("got %+v, err %v", report, err)
	}
	backend, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	if usage, _, err := backend.Usage(token.ID([]byte(id)), 1, 0); err != nil || usage.Allowed != 3 {
		t.Errorf("got %+v, err %v", usage, err)
	}
	if f.logs.FilterMessage("backup taken").Len() != 1 {
		t.Error("the backup wasn't logged")
	}
}

// TestAuditOfTheClock verifies that audit entries that aren't about a token have no token
// fields.
func TestAuditOfTheClock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.pass(time.Hour)
	f.create(`{}`)
	f.pass(-time.Hour)
	readObject(t, f.do(http.MethodPost, "/clock", "{}"), 200)
	want := `{"data":[{"time":"2026-03-01T12:00:00Z","actor":"caddy-admin","action":"accept clock",` +
		`"token_id":null,"token_name":null,` +
		`"address":"127.0.0.1","changes":{"clock":"2026-03-01T13:00:00Z -> 2026-03-01T12:00:00Z"}}],"next_cursor":null}`
	if got := f.do(http.MethodGet, "/audit?action=accept+clock", "").Body.String(); got != want {
		t.Errorf("got %s", got)
	}
	if n := f.logs.FilterLevelExact(zap.WarnLevel).Len(); n != 1 {
		t.Errorf("got %d warnings in the log", n)
	}
}

// longAudit is a backend with many audit entries. The actor of every nth entry is "rare".
type longAudit struct {
	memory
	length, nth, walked int
	after               func(walked int) // called after each entry
}

func (l *longAudit) Audit(before *tokenstore.AuditPosition,
	yield func(tokenstore.AuditPosition, tokenstore.AuditEntry) bool) error {
	newest := uint64(l.length)
	if before != nil {
		newest = before.Sequence - 1
	}
	for n := newest; n > 0; n-- {
		l.walked++
		l.after(l.walked)
		entry := tokenstore.AuditEntry{Time: start, Actor: "frequent", Action: "edit",
			TokenName: strconv.FormatUint(n, 10)}
		if n%uint64(l.nth) == 0 {
			entry.Actor = "rare"
		}
		if !yield(tokenstore.AuditPosition{Time: start, Sequence: n}, entry) {
			return nil
		}
	}
	return nil
}

func (*longAudit) Close() error { return nil }

// TestSearchAudit verifies that a search reads the audit log in chunks, finds every entry
// once, in order, and stops when its request is canceled.
func TestSearchAudit(t *testing.T) {
	t.Parallel()
	audit := &longAudit{length: 5*auditChunk + 7, after: func(int) {}}
	store, err := tokenstore.Open(audit, tokenstore.Options{FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	rare := func(e tokenstore.AuditEntry) bool { return e.Actor == "rare" }
	for _, test := range []struct {
		nth, limit int
		want       string
	}{
		{15_001, 1, "45003 30002 15001"},
		{15_001, 2, "45003 30002 15001"},
		{15_001, 3, "45003 30002 15001"},
		{15_001, 50, "45003 30002 15001"},
		{6_000, 1, "48000 42000 36000 30000 24000 18000 12000 6000"},
		{6_000, 3, "48000 42000 36000 30000 24000 18000 12000 6000"},
		{6_000, 5, "48000 42000 36000 30000 24000 18000 12000 6000"},
	} {
		audit.nth = test.nth
		limit := test.limit
		var found []string
		for page := (tokenstore.AuditPage{Limit: limit, Match: rare}); ; {
			entries, next, err := searchAudit(t.Context(), store, page, time.Time{})
			if err != nil || len(entries) > limit {
				t.Fatalf("got %d entries, err %v", len(entries), err)
			}
			for _, e := range entries {
				found = append(found, e.TokenName)
			}
			if page.Before = next; next == nil {
				break
			}
		}
		if got := strings.Join(found, " "); got != test.want {
			t.Errorf("limit %d: got %s, want %s", limit, got, test.want)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	audit.walked = 0
	audit.after = func(walked int) {
		if walked == auditChunk/2 {
			cancel()
		}
	}
	_, _, err = searchAudit(ctx, store, tokenstore.AuditPage{Limit: 50, Match: rare}, time.Time{})
	if !errors.Is(err, context.Canceled) || audit.walked > auditChunk+100 {
		t.Errorf("got error %v after %d entries", err, audit.walked)
	}
}

// TestStatsStopWithTheRequest verifies that counting stops when the client disconnects.
func TestStatsStopWithTheRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(`{}`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.refused(f.serve(httptest.NewRequest(http.MethodGet, "/stats", nil).WithContext(ctx)), 503, "store_unavailable")
	f.refused(f.serve(httptest.NewRequest(http.MethodGet, "/audit", nil).WithContext(ctx)), 503, "store_unavailable")
	if n := f.logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 0 {
		t.Errorf("got %d errors in the log", n)
	}
}

// copied is a backup whose reads may fail.
type copied struct {
	io.Reader
	closed bool
}

func (c *copied) Close() error {
	c.closed = true
	return nil
}

type copying struct {
	memory
	copy *copied
}

func (c copying) Backup() (io.ReadCloser, int64, error) { return c.copy, 10, nil }

func (copying) SaveUsage(time.Time, tokenstore.FlushState, iter.Seq2[token.ID, tokenstore.Usage]) error {
	return nil
}

// TestBackupClosesTheCopy verifies that the copy is closed even if reading it fails, and that
// a failure is logged and visible to the client.
func TestBackupClosesTheCopy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		content  io.Reader
		warnings int
	}{
		"whole":  {strings.NewReader("0123456789"), 0},
		"broken": {io.MultiReader(strings.NewReader("01234"), new(failing)), 1},
		"short":  {strings.NewReader("01234"), 1},
	} {
		content := &copied{Reader: test.content}
		store, err := tokenstore.Open(copying{copy: content}, tokenstore.Options{FlushInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		f := newFixture(t, func(c *Config) {
			c.Store = func(context.Context) (*tokenstore.Store, error) { return store, nil }
		})
		w := f.do(http.MethodGet, "/backup", "")
		if w.Code != 200 || w.Header().Get("Content-Length") != "10" || !content.closed ||
			f.logs.FilterLevelExact(zap.WarnLevel).Len() != test.warnings {
			t.Errorf("%s: got status %d, headers %v, closed %v, logs %v", name, w.Code, w.Header(), content.closed,
				f.logs.All())
		}
	}
}
