package admin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

type listed struct {
	Data []struct {
		ID, Name, Status string
	} `json:"data"`
	NextCursor *string `json:"next_cursor"`
	Total      *int    `json:"total"`
}

func (f *fixture) list(query string) listed {
	f.t.Helper()
	w := f.do(http.MethodGet, "/tokens?"+query, "")
	if w.Code != http.StatusOK {
		f.t.Fatalf("%s: got status %d and body %s", query, w.Code, w.Body)
	}
	var page listed
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		f.t.Fatal(err)
	}
	return page
}

// names returns the token names on all pages.
func (f *fixture) names(query string) []string {
	f.t.Helper()
	return f.namesFrom(query, "")
}

func (f *fixture) namesFrom(query, cursor string) []string {
	f.t.Helper()
	names := []string{}
	for range 100 {
		page := f.list(query + cursor)
		for _, token := range page.Data {
			names = append(names, strings.TrimSuffix(token.Name, "."))
		}
		if page.NextCursor == nil {
			return names
		}
		if len(page.Data) == 0 {
			f.t.Fatalf("%s: got an empty page before the last page", query)
		}
		cursor = "&cursor=" + url.QueryEscape(*page.NextCursor)
	}
	f.t.Fatalf("%s: the list never ends", query)
	return nil
}

// population creates tokens that differ in all listed properties. In order of creation,
// the names are "A.", "b.", "C.", "d.", "e." and "F."; the dot ensures that no ID starts
// with a name.
func population(t *testing.T) *fixture {
	f := newFixture(t, func(c *Config) { c.Policy.MaxLifetime = token.Lifetime{} })
	secrets := make(map[string]string)
	for _, body := range []string{
		`{"name":"A.","expires_in":9000,"preset":"read"}`,
		`{"name":"b.","expires_in":"never","scopes":["unikernel:*"],"account":"alice"}`,
		`{"name":"C.","expires_in":"1h","scopes":["*"]}`,
		`{"name":"d.","expires_in":"60d","kind":"admin"}`,
		`{"name":"e.","expires_in":"31d","not_before":"2026-03-20T00:00:00Z","scopes":["monitoring:read"]}`,
		`{"name":"F.","expires_in":"31d","preset":"read","account":"alice"}`,
	} {
		_, secret := f.create(body)
		var name struct{ Name string }
		if err := json.Unmarshal([]byte(body), &name); err != nil {
			t.Fatal(err)
		}
		secrets[name.Name] = secret
		f.pass(time.Minute)
	}
	at := func(minutes int) tokenstore.LastUse {
		return tokenstore.LastUse{Time: start.Add(time.Duration(minutes) * time.Minute)}
	}
	f.use(secrets["A."], 5, at(30))
	f.use(secrets["b."], 1, at(50))
	f.use(secrets["F."], 9, at(40))
	f.set(start.Add(2 * time.Hour))
	return f
}

func TestListSorts(t *testing.T) {
	t.Parallel()
	f := population(t)
	for sort, want := range map[string]string{
		"":             "F e d C b A",
		"-created_at":  "F e d C b A",
		"created_at":   "A b C d e F",
		"expires_at":   "C A e F d b",
		"-expires_at":  "b d F e A C",
		"name":         "A b C d e F",
		"-name":        "F e d C b A",
		"last_used_at": "? ? ? A F b",
		"-usage_count": "F A b ? ? ?",
		"usage_count":  "? ? ? b A F",
	} {
		for _, limit := range []int{1, 2, 3, 4, 6, 200} {
			query := fmt.Sprintf("limit=%d", limit)
			if sort != "" {
				query += "&sort=" + sort
			}
			got := f.names(query)
			seen := slices.Sorted(slices.Values(got))
			if strings.Join(seen, "") != "ACFbde" {
				t.Errorf("%s: got list %v", query, got)
				continue
			}
			for i, name := range strings.Fields(want) {
				// Tokens with equal values are sorted by ID.
				if name != "?" && got[i] != name {
					t.Errorf("%s: got %v, want %s", query, got, want)
					break
				}
			}
		}
	}
}

func TestListMarksTheLastPage(t *testing.T) {
	t.Parallel()
	f := population(t)
	for _, sort := range []string{"created_at", "-expires_at", "name", "-usage_count"} {
		if page := f.list("limit=6&sort=" + sort); page.NextCursor != nil {
			t.Errorf("%s: a page of all tokens has a next_cursor", sort)
		}
		if page := f.list("limit=5&sort=" + sort); page.NextCursor == nil {
			t.Errorf("%s: a page of five tokens has no next_cursor", sort)
		}
	}
	if page := f.list("status=revoked"); len(page.Data) != 0 || page.NextCursor != nil {
		t.Errorf("got %v", page)
	}
	if got := f.do(http.MethodGet, "/tokens?q=nothing", "").Body.String(); got != `{"data":[],"next_cursor":null}` {
		t.Errorf("got %s for an empty list", got)
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	f := population(t)
	id := f.list("q=b.").Data[0].ID
	for query, want := range map[string]string{
		"q=":                             "A b C d e F",
		"q=a.":                           "A",
		"q=B.":                           "b",
		"q=" + id:                        "b",
		"q=" + id[:11]:                   "b",
		"q=" + id[1:]:                    "",
		"status=active":                  "A b d F",
		"status=expired":                 "C",
		"status=not_yet_valid":           "e",
		"status=disabled":                "",
		"status=revoked":                 "",
		"status=expiring":                "A",
		"account=alice":                  "b F",
		"account=default":                "A C e",
		"account=bob":                    "",
		"scope=unikernel:list":           "A b C F",
		"scope=unikernel:create":         "b C",
		"scope=monitoring:read":          "e",
		"scope=*":                        "C",
		"scope=unikernel:*":              "b",
		"scope=gone:scope":               "",
		"never_used=true":                "C d e",
		"never_used=false":               "A b F",
		"never_used=false&account=alice": "b F",
		// unused_since compares the last use, or the creation time of tokens that have
		// never been used.
		"unused_since=2026-03-01T12:35:00Z":        "A C d e",
		"unused_since=2026-03-01T12:03:00Z":        "C",
		"unused_since=2026-03-01T14:00:00%2B01:00": "A b C d e F",
		"status=active&never_used=true":            "d",
		"account=alice&scope=volume:list":          "F",
	} {
		for _, sort := range []string{"created_at", "name"} {
			for _, limit := range []string{"1", "2", "200"} {
				got := strings.Join(f.names(query+"&sort="+sort+"&limit="+limit), " ")
				if got != want {
					t.Errorf("%s, sort %s, limit %s: got %q, want %q", query, sort, limit, got, want)
				}
			}
		}
		if total := f.list(query + "&limit=1&count=true").Total; total == nil || *total != len(strings.Fields(want)) {
			t.Errorf("%s: got total %v, want %d", query, total, len(strings.Fields(want)))
		}
	}
	if f.list("count=false").Total != nil || f.list("").Total != nil {
		t.Error("the list has a total without count=true")
	}
}

// TestListExpiring verifies to the second when a token counts as expiring: within
// warn_before of its expiry, but not before the last quarter of its lifetime. The
// expires_soon member must match.
func TestListExpiring(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{"name":"a","expires_at":"2026-09-01T00:00:00Z"}`)
	for _, test := range []struct {
		now  string
		want int
	}{
		{"2026-08-01T23:59:59Z", 0},
		{"2026-08-02T00:00:00Z", 1},
		{"2026-08-31T23:59:59Z", 1},
		{"2026-09-01T00:00:00Z", 0},
	} {
		now, err := time.Parse(time.RFC3339, test.now)
		if err != nil {
			t.Fatal(err)
		}
		f.set(now)
		if got := len(f.list("status=expiring").Data); got != test.want {
			t.Errorf("at %s: got %d tokens, want %d", test.now, got, test.want)
		}
		var object struct {
			ExpiresSoon bool `json:"expires_soon"`
		}
		if err := json.Unmarshal(f.do(http.MethodGet, "/tokens/"+id, "").Body.Bytes(), &object); err != nil ||
			object.ExpiresSoon != (test.want == 1) {
			t.Errorf("at %s: got expires_soon %v, err %v", test.now, object.ExpiresSoon, err)
		}
	}
	unlimited := newFixture(t, func(c *Config) { c.WarnBefore = token.Lifetime{} })
	unlimited.create(`{"name":"a","expires_in":"400d"}`)
	if len(unlimited.list("status=expiring").Data) != 0 {
		t.Error("a new token counts as expiring")
	}
	unlimited.pass(300 * 24 * time.Hour)
	if len(unlimited.list("status=expiring").Data) != 1 {
		t.Error("with warn_before unlimited, a token in the last quarter of its lifetime doesn't count as expiring")
	}
}

// TestListWhileTokensComeAndGo verifies that creating and deleting tokens between two pages
// doesn't affect the other tokens, even if the cursor's own token was deleted.
func TestListWhileTokensComeAndGo(t *testing.T) {
	t.Parallel()
	for _, sort := range []string{"created_at", "-created_at", "expires_at", "-expires_at", "name", "-name",
		"usage_count", "-last_used_at"} {
		t.Run(sort, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			for i := range 9 {
				f.create(fmt.Sprintf(`{"name":"m%d","expires_in":"%dd"}`, i, 30+i))
				f.pass(time.Second)
			}
			all := f.names("sort=" + sort)
			page := f.list("limit=4&sort=" + sort)
			seen := []string{}
			for _, token := range page.Data {
				seen = append(seen, token.Name)
			}
			last := page.Data[3]
			if w := f.do(http.MethodDelete, "/tokens/"+last.ID, ""); w.Code != http.StatusNoContent {
				t.Fatal(w.Code)
			}
			f.create(`{"name":"a new one","expires_in":"29d"}`)
			f.create(`{"name":"z new one","expires_in":"99d"}`)
			for _, name := range f.namesFrom("limit=2&sort="+sort, "&cursor="+*page.NextCursor) {
				if !strings.Contains(name, "new") {
					seen = append(seen, name)
				}
			}
			if !slices.Equal(seen, all) {
				t.Errorf("got tokens %v, want %v", seen, all)
			}
		})
	}
}

// TestListScansInChunks verifies that a scan in chunks neither skips nor repeats tokens.
func TestListScansInChunks(t *testing.T) {
	if testing.Short() {
		t.Skip("creates many tokens")
	}
	t.Parallel()
	f := newFixture(t)
	const n = 2*walkChunk + 7
	done := make(chan struct{})
	for range 32 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range n/32 + 1 {
				f.create(`{"name":"many."}`)
			}
		}()
	}
	for range 32 {
		<-done
	}
	want := 32 * (n/32 + 1)
	if total := f.list("count=true&limit=1&q=many.").Total; *total != want {
		t.Errorf("got total %d, want %d", *total, want)
	}
	for _, query := range []string{"limit=200&sort=name", "limit=200&q=many.", "limit=200&sort=-usage_count",
		"limit=200"} {
		ids := make(map[string]bool)
		cursor, pages := "", 0
		for {
			page := f.list(query + cursor)
			for _, token := range page.Data {
				if ids[token.ID] {
					t.Fatalf("%s: %s is listed twice", query, token.ID)
				}
				ids[token.ID] = true
			}
			pages++
			if page.NextCursor == nil {
				break
			}
			cursor = "&cursor=" + *page.NextCursor
		}
		if len(ids) != want || pages != (want+199)/200 {
			t.Errorf("%s: got %d tokens on %d pages, want %d tokens", query, len(ids), pages, want)
		}
	}
}

// TestPickEqualsWalk verifies that scanning all tokens and walking the store's index return
// the same pages.
func TestPickEqualsWalk(t *testing.T) {
	t.Parallel()
	f := population(t)
	ctx := t.Context()
	for _, key := range []sortKey{sortCreatedAt, sortExpiresAt} {
		for _, descending := range []bool{false, true} {
			for _, keep := range []filter{{}, {text: "a"}, {status: "active"}, {account: "alice"}} {
				keep.now = f.store.Now()
				query := listQuery{limit: 2, sort: sorting{key, descending}, filter: keep}
				order, _ := query.sort.storeOrder()
				for {
					walked, done, err := query.walk(ctx, f.store, order)
					if err != nil || !done {
						t.Fatal(done, err)
					}
					picked, err := query.pick(ctx, f.store)
					if err != nil || !reflect.DeepEqual(picked, walked) {
						t.Fatalf("%v %+v after %v: picked %v, walked %v: %v", query.sort, keep, query.after, picked,
							walked, err)
					}
					if len(walked) <= query.limit {
						break
					}
					after := query.sort.position(walked[query.limit-1])
					query.after = &after
				}
			}
		}
	}
}

func TestListRefusesParameters(t *testing.T) {
	t.Parallel()
	f := population(t)
	cursor := *f.list("limit=2").NextCursor
	byName := *f.list("limit=2&sort=name").NextCursor
	altered := []byte(cursor)
	altered[20] ^= 1
	for _, test := range []struct{ parameter, query string }{
		{"limit", "limit=0"},
		{"limit", "limit=-1"},
		{"limit", "limit=201"},
		{"limit", "limit=1e9"},
		{"limit", "limit=1.0"},
		{"limit", "limit=010"},
		{"limit", "limit=%2B5"},
		{"limit", "limit=+5"},
		{"limit", "limit=99999999999999999999"},
		{"limit", "limit="},
		{"limit", "limit"},
		{"limit", "limit=5&limit=5"},
		{"limit", "limit=5&l%69mit=5"},
		{"sort", "sort="},
		{"sort", "sort=-"},
		{"sort", "sort=--name"},
		{"sort", "sort=Name"},
		{"sort", "sort=id"},
		{"sort", "sort=name,created_at"},
		{"status", "status="},
		{"status", "status=Active"},
		{"status", "status=unknown"},
		{"account", "account="},
		{"scope", "scope="},
		{"never_used", "never_used="},
		{"never_used", "never_used=1"},
		{"unused_since", "unused_since="},
		{"unused_since", "unused_since=90d"},
		{"unused_since", "unused_since=2026-03-01"},
		{"count", "count=yes"},
		{"q", "q=" + strings.Repeat("a", 401)},
		{"q", "q=%ff"},
		{"q", "q=%zz"},
		{"q", "q=%"},
		{"cursor", "cursor="},
		{"cursor", "cursor=x"},
		{"cursor", "cursor=" + cursor[:len(cursor)-1]},
		{"cursor", "cursor=" + cursor + "A"},
		{"cursor", "cursor=" + cursor + "="},
		{"cursor", "cursor=" + string(altered)},
		{"cursor", "cursor=" + cursor + "&sort=created_at"},
		{"cursor", "cursor=" + cursor + "&sort=-expires_at"},
		{"cursor", "cursor=" + byName},
		{"cursor", "cursor=" + byName + "&sort=-name"},
		{"cursor", "cursor=" + base64.RawURLEncoding.EncodeToString(make([]byte, 26))},
		{"x", "x=1"},
		{"Limit", "Limit=1"},
		{"limit ", "limit%20=1"},
		{"offset", "limit=5&offset=5"},
		{"", "=1"},
		{"a;b", "a;b=1"},
		{"%zz", "%zz=1"},
	} {
		w := f.do(http.MethodGet, "/tokens?"+test.query, "")
		t.Log(test.query)
		f.refused(w, 400, "invalid_parameter", "parameter="+test.parameter)
	}
	for _, query := range []string{"&limit=1&", "limit=200", "cursor=" + cursor + "&limit=7&q=a", "sort=%6eame"} {
		f.list(query)
	}
}

// TestCursorDetectsChanges verifies that a cursor with any bit changed, or a truncated
// cursor, is refused.
func TestCursorDetectsChanges(t *testing.T) {
	t.Parallel()
	s := sorting{sortName, true}
	p := position{text: "größer", number: 0, id: token.ID([]byte("4fQ9Zt2LkVb7"))}
	cursor := p.cursor(s)
	if got, ok := parseCursor(cursor, s); !ok || *got != p {
		t.Fatalf("got %v, %v", got, ok)
	}
	raw, err := cursorEncoding.DecodeString(cursor)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		flipped := slices.Clone(raw)
		flipped[i/8] ^= 1 << (i % 8)
		if _, ok := parseCursor(cursorEncoding.EncodeToString(flipped), s); ok {
			t.Errorf("changing bit %d wasn't detected", i)
		}
	}
	for i := range raw {
		if _, ok := parseCursor(cursorEncoding.EncodeToString(raw[:i]), s); ok {
			t.Errorf("a cursor truncated to %d bytes was accepted", i)
		}
	}
}

// TestCursorOutlivesTokens verifies that a cursor remains valid after the tokens before
// and after it have been deleted.
func TestCursorOutlivesTokens(t *testing.T) {
	t.Parallel()
	f := population(t)
	page := f.list("limit=5&sort=expires_at")
	for _, token := range f.list("").Data {
		f.do(http.MethodDelete, "/tokens/"+token.ID, "")
	}
	if rest := f.list("limit=5&sort=expires_at&cursor=" + *page.NextCursor); len(rest.Data) != 0 ||
		rest.NextCursor != nil {
		t.Errorf("got %v", rest)
	}
}

// TestListReadsOnlyThePage verifies that reading a page in an indexed order reads about as
// many tokens as the page contains, however many tokens there are.
func TestListReadsOnlyThePage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 60 {
		f.create(`{}`)
		f.pass(time.Second)
	}
	for _, sort := range []string{"created_at", "-created_at", "expires_at", "-expires_at"} {
		cursor := ""
		for range 5 {
			f.listed.Store(0)
			page := f.list("limit=10&sort=" + sort + cursor)
			if n := f.listed.Load(); n > 12 {
				t.Errorf("%s: reading a page of 10 read %d tokens", sort, n)
			}
			cursor = "&cursor=" + *page.NextCursor
		}
	}
}

// TestLabels verifies the filters by kind, owner, tag and expiry, and that the search looks into
// everything by which people know a token.
func TestLabels(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ciID, ci := f.create(`{"name":"ci","expires_in":"6d","metadata":{"owner":"Web team","tags":"prod, deploy"}}`)
	f.create(`{"name":"nightly","metadata":{"owner":"data team","tags":"prod","ticket":"Rack 17"},
		"allowed_ips":["198.51.100.0/24"]}`)
	adminID, _ := f.create(`{"kind":"admin","name":"carol"}`)
	f.use(ci, 1, tokenstore.LastUse{Time: f.store.Now(), IP: "203.0.113.7"})
	for query, want := range map[string]string{
		"kind=api": "nightly ci", "kind=admin": "carol", "owner=Web team": "ci", "owner=web": "",
		"tag=prod":   "nightly ci",
		"tag=deploy": "ci", "tag=pro": "", "expires_before=2026-03-08T12:00:00Z": "ci",
		"tag=prod&owner=data team": "nightly",
		"q=web t":                  "ci", "q=rack 17": "nightly", "q=203.0.113": "ci",
		"q=198.51.100": "nightly", "q=0.113": "",
		"q=mmk_" + ciID: "ci", "q=mmk_" + ciID + "_…": "ci", "q=mmk_" + ciID[:5]: "ci",
		"q=mma_" + adminID + "_…": "carol",
		"q=zzk_" + ciID:           "ci", "q=" + ciID[:6]: "ci", "q=mmk_": "", "q=CAROL": "carol",
	} {
		got := strings.Join(f.names("sort=-name&"+strings.ReplaceAll(query, " ", "%20")), " ")
		if got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	for query, parameter := range map[string]string{
		"kind=robot": "kind", "owner=": "owner", "tag=": "tag", "expires_before=tomorrow": "expires_before",
	} {
		f.refused(f.do(http.MethodGet, "/tokens?"+query, ""), 400, "invalid_parameter", "parameter="+parameter)
	}
}
