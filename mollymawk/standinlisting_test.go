package mollymawk_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestListingOfStandIn filters the stand-in's list of unikernels.
func TestListingOfStandIn(t *testing.T) {
	t.Parallel()
	for name, generation := range map[string]mollymawktest.Generation{"mollymawk": mollymawktest.Current,
		"mollymawk-2025": mollymawktest.Generation2025} {
		c := newComparison(t, name, generation)
		c.backend.SetFaults(mollymawktest.Faults{Unreachable: map[string]string{"edge": "timeout"}})
		listing := c.route(request{method: "GET", path: "/api/unikernels"}).Listing
		_, whole := c.do("GET", "/api/unikernels", "", nil, nil, false)
		for kept, want := range map[string]int{"web shop web-1 data": 8, "web": 2, "data": 2, "logs": 0} {
			var filtered bytes.Buffer
			if err := listing.Filter(&filtered, bytes.NewReader(whole), func(name string) bool {
				return strings.Contains(" "+kept+" ", " "+name+" ")
			}); err != nil {
				t.Fatalf("%s: filtering %s: %v", name, whole, err)
			}
			if got := bytes.Count(filtered.Bytes(), []byte(`"cpuids"`)); got != want ||
				want == 8 && !bytes.Equal(filtered.Bytes(), whole) {
				t.Errorf("%s: keeping %s: got %d unikernels, want %d: %s", name, kept, got, want, filtered.Bytes())
			}
		}
	}
}
