package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// newAPI returns a client for a real admin API mounted below a path.
func newAPI(t *testing.T) *client.Client {
	t.Helper()
	backend, err := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(backend, tokenstore.Options{FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	const mount = "/api_tokens/v1"
	return newClient(t, mount+"/", http.StripPrefix(mount, admin.New(admin.Config{
		Store: func(context.Context) (*tokenstore.Store, error) { return store, nil },
		Policy: token.Policy{
			Prefixes: token.Prefixes{"mm"},
			Accounts: []string{"default"},
			Catalog: token.Catalog{
				Scopes:  []token.CatalogScope{{Scope: token.Scope{Name: "volume:list"}}},
				Presets: map[string]token.Grants{"read": {"volume:list"}},
			},
		},
		Authenticate: func(*http.Request) (tokenstore.Actor, *admin.Refusal) {
			return tokenstore.Actor{Name: "caddy-admin"}, nil
		},
	})))
}

// newClient returns a client for a handler at /api_tokens/v1.
func newClient(t *testing.T, pattern string, handler http.Handler) *client.Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(pattern, handler)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c, err := client.New(server.Client(), server.URL+"/api_tokens/v1/")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClient(t *testing.T) {
	t.Parallel()
	c, ctx := newAPI(t), t.Context()
	end := time.Now().Add(100 * 24 * time.Hour).UTC().Truncate(time.Second)
	created, err := c.Create(ctx, client.CreateRequest{
		Name: "ci", Account: "default", Scopes: []string{"volume:*"}, AllowedIPs: []string{"10.0.0.0/8"},
		Metadata: map[string]string{"a": "b"}, ExpiresAt: end, NotBefore: end.Add(-time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if created.Name != "ci" || created.Kind != "api" || created.Status != "not_yet_valid" ||
		!created.ExpiresAt.Equal(end) ||
		!created.NotBefore.Equal(end.Add(-time.Hour)) || created.CreatedBy != "caddy-admin" ||
		created.Metadata["a"] != "b" ||
		len(created.AllowedIPs) != 1 || len(created.Scopes) != 1 || !created.LastUsedAt.IsZero() ||
		created.Version != 1 {
		t.Errorf("got created token %+v", created.Token)
	}
	if _, err := (token.Prefixes{"mm"}).Parse(created.Secret.Reveal()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(string(created.JSON()), created.Secret.Reveal()) {
		t.Error("the raw JSON object contains no secret")
	}

	got, err := c.Get(ctx, created.ID)
	if err != nil || got.Name != "ci" || strings.Contains(string(got.JSON()), created.Secret.Reveal()) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, lifetime := range []client.Lifetime{"3600", "1h", "never"} {
		if _, err := c.Create(ctx,
			client.CreateRequest{Name: "other", Preset: "read", ExpiresIn: lifetime}); err != nil {
			t.Errorf("%s: unexpected error: %v", lifetime, err)
		}
	}
	neverUsed := true
	page, err := c.List(ctx, client.ListQuery{Limit: 2, Sort: "name", Status: "active", Account: "default",
		Scope: "volume:list",
		Q:     "OTH", NeverUsed: &neverUsed, Count: true})
	if err != nil || len(page.Tokens) != 2 || page.NextCursor == "" || page.Total == nil || *page.Total != 3 {
		t.Errorf("got page %+v, err %v", page, err)
	}
	listed, pages := 0, 0
	for page, err := range c.Pages(ctx, client.ListQuery{Limit: 3, Count: true}) {
		if err != nil {
			t.Fatal(err)
		}
		listed += len(page.Tokens)
		if pages++; (pages == 1) != (page.Total != nil) {
			t.Errorf("page %d: got total %v", pages, page.Total)
		}
	}
	if listed != 4 || pages != 2 {
		t.Errorf("got %d tokens on %d pages", listed, pages)
	}

	if err := c.Delete(ctx, created.ID); err != nil {
		t.Error(err)
	}
	for _, err := range []error{c.Delete(ctx, created.ID), second(c.Get(ctx, created.ID))} {
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || refused.Status != http.StatusNotFound || refused.Code != "not_found" || refused.Detail == "" {
			t.Errorf("got error %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestClientReturnsFieldAndParameter(t *testing.T) {
	t.Parallel()
	c := newAPI(t)
	_, err := c.Create(t.Context(), client.CreateRequest{Name: "a", Preset: "read", ExpiresIn: "5m"})
	if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Field != "expires_in" ||
		refused.Code != "invalid_field" {
		t.Errorf("got error %v", err)
	}
	_, err = c.List(t.Context(), client.ListQuery{Sort: "nope"})
	if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Parameter != "sort" ||
		!strings.HasSuffix(refused.Error(), "(400 invalid_parameter)") {
		t.Errorf("got error %v", err)
	}
}

// TestClientSendsOnlyIDs verifies that a malformed ID never appears in a URL or an error.
func TestClientSendsOnlyIDs(t *testing.T) {
	t.Parallel()
	c := newClient(t, "/",
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("unexpected call: %s", r.URL.Path) }))
	for _, id := range []string{"", "x", "../../config", "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D",
		"4fQ9Zt2LkVb7/"} {
		for _, err := range []error{c.Delete(t.Context(), id), second(c.Get(t.Context(), id))} {
			if err == nil || (id != "" && strings.Contains(err.Error(), id+" ")) ||
				strings.Contains(err.Error(), "N3sXw8") {
				t.Errorf("%q: got error %v", id, err)
			}
		}
	}
}

// TestClientReadsForeignErrors verifies how the client reports errors that aren't from the
// admin API.
func TestClientReadsForeignErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status       int
		body         string
		detail, code string
	}{
		"Caddy's own error": {403, `{"error":"host not allowed: x"}`, "host not allowed: x", ""},
		"a problem":         {409, `{"title":"T","detail":"D","code":"conflict"}`, "D", "conflict"},
		"a short problem":   {409, `{"title":"T","code":"conflict"}`, "T", "conflict"},
		"a page":            {502, "<html>\n<b>bad</b>\xff", "<html> <b>bad</b>\ufffd", ""},
		"a long page":       {500, strings.Repeat("ü ", 1000), strings.Repeat("ü ", 150) + "…", ""},
		"nothing":           {404, "", "", ""},
		"unexpected JSON":   {400, `{"code":5}`, `{"code":5}`, ""},
		"a redirect":        {302, "", "", ""},
	} {
		c := newClient(t, "/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
		}))
		_, err := c.List(t.Context(), client.ListQuery{})
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || refused.Status != test.status || refused.Detail != test.detail || refused.Code != test.code {
			t.Errorf("%s: got error %#v", name, err)
		}
		if err.Error() == "" || strings.HasPrefix(err.Error(), " ") {
			t.Errorf("%s: the error has no message: %q", name, err)
		}
	}
}

func TestClientWithoutResponse(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"aborted": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
		},
	} {
		_, err := newClient(t, "/", handler).List(t.Context(), client.ListQuery{Q: "name"})
		if _, ok := errors.AsType[*client.TransportError](err); !ok || strings.Contains(err.Error(), "q=name") {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	for name, body := range map[string]string{"not JSON": "<html>", "unexpected JSON": `{"data":5}`, "nothing": ""} {
		c := newClient(t, "/",
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		_, err := c.List(t.Context(), client.ListQuery{})
		_, transport := errors.AsType[*client.TransportError](err)
		_, refused := errors.AsType[*client.Error](err)
		if err == nil || transport || refused {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	secretless := newClient(t, "/",
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"id":"4fQ9Zt2LkVb7"}`))
		}))
	if _, err := secretless.Create(t.Context(), client.CreateRequest{}); err == nil ||
		!strings.Contains(err.Error(), "4fQ9Zt2LkVb7") {
		t.Errorf("got error %v", err)
	}
}

// TestPagesEnd verifies that the client stops if the server's list never ends.
func TestPagesEnd(t *testing.T) {
	t.Parallel()
	calls := 0
	c := newClient(t, "/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		_, _ = w.Write([]byte(`{"data":[],"next_cursor":"same"}`))
	}))
	var last error
	for _, err := range c.Pages(t.Context(), client.ListQuery{}) {
		last = err
	}
	if last == nil || calls != 2 {
		t.Errorf("got %d calls, last error %v", calls, last)
	}
}

func TestNewRefusesAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost:2019", "/api", "http://", "http://x/?q", "http://x/#f",
		"http://x\x00"} {
		if _, err := client.New(http.DefaultClient, address); err == nil {
			t.Errorf("%q was accepted", address)
		}
	}
}

// TestSecretsDontPrint verifies that only Reveal returns a secret.
func TestSecretsDontPrint(t *testing.T) {
	t.Parallel()
	created, err := newAPI(t).Create(t.Context(), client.CreateRequest{Name: "ci", Preset: "read", ExpiresIn: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	secret := created.Secret.Reveal()
	for _, value := range []any{created, &created, created.Token, created.Secret, &created.Secret} {
		for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if text := fmt.Sprintf(form, value); strings.Contains(text, secret[20:]) ||
				strings.Contains(text, fmt.Sprintf("%#x", secret[20])+", ") {
				t.Errorf("%s of %T prints %s", form, value, text)
			}
		}
	}
}
