package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func init() { registerHandler("renaming", renamingHandler) }

// rename renames the token of a request that is in flight.
var rename func() error

// renamingHandler renames the request's token, starts an attempt to send the request, as a proxy
// would, and responds with the name in the request's headers before and after that.
func renamingHandler(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	before := strings.Clone(r.Header.Get("X-Token-Name"))
	if err := rename(); err != nil {
		return err
	}
	httptrace.ContextClientTrace(r.Context()).GetConn("")
	w.Header()["Names"] = []string{before, r.Header.Get("X-Token-Name")}
	w.WriteHeader(http.StatusOK)
	return nil
}

// TestRenamedInFlight checks that a request's headers don't change when its token is renamed. They
// share memory with what the gate knows about the token.
func TestRenamedInFlight(t *testing.T) {
	sites, text := loadChains(t)
	app, store := activeApp(t)
	id, err := token.ParseID(text[4:16])
	if err != nil {
		t.Fatal(err)
	}
	rename = func() error {
		_, err := store.Edit(app.policy, id, token.Edit{Name: new("xy")}, tokenstore.Actor{Name: "test"})
		return err
	}
	for _, want := range []string{"ci", "xy"} {
		r := httptest.NewRequest(http.MethodGet, "/api/unikernels", nil)
		r.Host = "gated-renaming"
		r.Header = http.Header{"Authorization": {"Bearer " + text}}
		w := httptest.NewRecorder()
		sites["gated-renaming"].ServeHTTP(w, r)
		if names := w.Header()["Names"]; !slices.Equal(names, []string{want, want}) {
			t.Errorf("status %d, X-Token-Name was %q, want %q before and after", w.Code, names, want)
		}
	}
}
