package mollymawk_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/mollygate/mollygate/gate"
	_ "github.com/mollygate/mollygate/mollymawk"
	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestSessionPaths checks, for both generations, that the backend knows its table's session
// paths and that none of them is also a token route.
func TestSessionPaths(t *testing.T) {
	t.Parallel()
	for name, generation := range map[string]mollymawktest.Generation{"mollymawk": mollymawktest.Current,
		"mollymawk-2025": mollymawktest.Generation2025} {
		backend := mollymawktest.New(t, mollymawktest.Options{Generation: generation})
		table, _ := gate.TableByName(name)
		if !slices.IsSorted(table.SessionPaths) {
			t.Errorf("%s: the session paths aren't sorted", name)
		}
		for i := range table.Routes {
			if slices.Contains(table.SessionPaths, table.Routes[i].Path) {
				t.Errorf("%s: %s is both a session path and a route", name, table.Routes[i].Path)
			}
		}
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
		for _, path := range table.SessionPaths {
			if path == "/blocks" && generation == mollymawktest.Generation2025 || path == "/volumes" &&
				generation == mollymawktest.Current {
				continue
			}
			response, err := client.Get(backend.URL() + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode == http.StatusBadRequest && response.Header.Get("Content-Type") == "text/html" {
				t.Errorf("%s: the backend doesn't know %s", name, path)
			}
		}
	}
}
