package firstrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/internal/demo"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// key is the API key that the instructions use.
type key struct{ id, secret string }

// newAPI returns a client for the admin API of the gate in this process. It doesn't use the
// network, where another program could answer.
func newAPI() (*client.Client, error) {
	return client.New(&http.Client{Transport: inProcess{}}, "http://localhost"+caddymodule.EndpointMount)
}

// inProcess passes requests to the admin endpoint's handler, as if from a unix socket.
type inProcess struct{}

// RoundTrip implements http.RoundTripper.
func (inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Net: "unix"}))
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	for _, route := range new(caddymodule.AdminEndpoint).Routes() {
		if err := route.Handler.ServeHTTP(w, r); err != nil {
			return nil, err
		}
	}
	return w.Result(), nil
}

// maxCount is the maximum number of keys that count reports.
const maxCount = 200

// stored is the number of keys in a store.
type stored struct {
	// keys is at most maxCount.
	keys int
	// usable is the number of keys that work now.
	usable int
}

// count counts the keys, up to maxCount.
func count(ctx context.Context, api *client.Client) (n stored, err error) {
	page, err := api.List(ctx, client.ListQuery{Limit: maxCount})
	for _, t := range page.Tokens {
		n.keys++
		if t.Status == "active" {
			n.usable++
		}
	}
	return n, err
}

// String returns the numbers in words.
func (n stored) String() string {
	text := fmt.Sprintf("%d keys", n.keys)
	switch {
	case n.keys == 1:
		text = "1 key"
	case n.keys >= maxCount:
		return "at least " + text
	}
	if n.usable < n.keys {
		text += fmt.Sprintf(", of which %d can be used", n.usable)
	}
	return text
}

// createKey creates the first API key. It lacks a scope, so that there is a refusal to see.
func createKey(ctx context.Context, api *client.Client) (key, error) {
	created, err := api.Create(ctx, client.CreateRequest{Name: "first API key", Preset: "deploy", ExpiresIn: "90d"})
	if err != nil {
		return key{}, err
	}
	return key{id: created.ID, secret: created.Secret.Reveal()}, nil
}

// fill fills the store with the demo's history, if it is wanted and the store doesn't exist
// yet. It returns an API key, if it knows one.
func (r *run) fill() (key, error) {
	if !r.Demo {
		return key{}, nil
	}
	path := caddymodule.DefaultStorePath()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return key{}, err // a second start
	}
	r.screen.note("Inventing a history of 120 days …")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return key{}, fmt.Errorf("creating the demo: %w", err)
	}
	store, err := bolt.Open(path)
	if err != nil {
		return key{}, fmt.Errorf("creating the demo: %w", err)
	}
	keys, err := demo.Fill(store, time.Now(), 1)
	if err != nil {
		return key{}, fmt.Errorf("creating the demo: %w", errors.Join(err, os.Remove(path)))
	}
	return key{id: keys[1].Token.ID.String(), secret: keys[1].Secret.Reveal()}, nil
}
