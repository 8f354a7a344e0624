package caddymodule

import (
	"testing"

	"github.com/mollygate/mollygate/gate"
)

// TestCustomTargetAlias checks that a target may have a type of the table, under any of its
// names, and that it is checked as the table does.
func TestCustomTargetAlias(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		"block": "block/db", "volume": "block/db", "unikernel": "unikernel/db", "project": "project/DB",
	} {
		h := &BearerAuth{Routes: "mollymawk", CustomRoutes: []CustomRoute{{Method: "POST", Path: "/api/custom/*",
			Scope: "custom:make", Targets: []CustomTarget{{Type: typ, In: gate.TargetInPath, Name: "3"}}}}}
		table, err := h.table()
		if err != nil {
			t.Fatal(err)
		}
		targets, err := table.Routes[len(table.Routes)-1].Targets(&gate.Call{Path: "/api/custom/DB"})
		if err != nil || len(targets) != 1 || targets[0].String() != want {
			t.Errorf("%s: got targets %v, error %v, want %s", typ, targets, err, want)
		}
		patterns, err := gate.Catalog(table).CheckResources([]string{typ + "/DB"})
		if err != nil || len(patterns) != 1 || patterns[0] != want {
			t.Errorf("%s: got patterns %v, error %v, want %s", typ, patterns, err, want)
		}
	}
}
