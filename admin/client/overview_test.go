package client_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/mollygate/mollygate/admin/client"
)

func TestClientOverview(t *testing.T) {
	t.Parallel()
	c, ctx := newAPI(t), t.Context()
	created, err := c.Create(ctx, client.CreateRequest{Name: "ci", Preset: "read", ExpiresIn: "90d"})
	if err != nil {
		t.Fatal(err)
	}
	o, err := c.Overview(ctx)
	if err != nil || o.Time.IsZero() || o.Tokens == nil || o.Tokens.Status.Active != 1 ||
		o.Health.Store.Status != "ok" || !o.Health.Backup.Time.IsZero() {
		t.Errorf("got overview %+v, error %v", o, err)
	}
	s, err := c.Settings(ctx)
	if err != nil || s.Store.Size == 0 {
		t.Errorf("got settings %+v, error %v", s, err)
	}
	if refusals, err := c.Refusals(ctx, created.ID); err != nil || len(refusals) != 0 {
		t.Errorf("got refusals %v, error %v", refusals, err)
	}
	if _, err := c.Refusals(ctx, "x"); err == nil {
		t.Error("Refusals accepted a malformed ID")
	}
}

// TestClientEvents reads a stream as the API sends it. It must skip comments and unknown events.
func TestClientEvents(t *testing.T) {
	t.Parallel()
	c := newClient(t, "/api_tokens/v1/events", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, ": \n\nevent: change\ndata: {\"action\":\"revoke\",\"token_id\":\"4fQ9Zt2LkVb7\"}\n\n"+
			"event: later\ndata: {}\n\nevent: usage\ndata: {\"token_ids\":[\"a\",\"b\"]}\n\n"+
			": \n\nevent: usage\ndata: {\"token_ids\":null}\n\nevent: change\ndata: x\n\n")
	}))
	events, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = events.Close() }()
	for _, want := range []client.Event{
		{Type: "change", Action: "revoke", IDs: []string{"4fQ9Zt2LkVb7"}},
		{Type: "usage", IDs: []string{"a", "b"}},
		{Type: "usage"},
	} {
		got, err := events.Next()
		if err != nil || got.Type != want.Type || got.Action != want.Action || !slices.Equal(got.IDs, want.IDs) {
			t.Errorf("got event %+v, error %v, want %+v", got, err, want)
		}
	}
	if got, err := events.Next(); err == nil {
		t.Errorf("got event %+v from invalid data", got)
	}
	if _, err := events.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end of the stream: got error %v, want io.EOF", err)
	}
	refused := newClient(t, "/nothing", http.NotFoundHandler())
	if _, err := refused.Events(t.Context()); err == nil {
		t.Error("Events returned no error for status 404")
	}
}
