package tokenstore

import (
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
)

func TestSharedText(t *testing.T) {
	for _, name := range []string{"", "ci", strings.Repeat("a", inlineName), strings.Repeat("a", inlineName+1)} {
		p := PrincipalOf(&token.Token{ID: token.ID([]byte("0123456789ab")), Name: name})
		if id, got := p.SharedText(); id != "0123456789ab" || got != name || p.Name() != name {
			t.Errorf("got %q and %q, want the ID and the name %q", id, got, name)
		}
		if n := testing.AllocsPerRun(100, func() { p.SharedText() }); n != 0 {
			t.Errorf("name %q: got %v allocations, want 0", name, n)
		}
	}
}
