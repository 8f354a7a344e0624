package tokenstore

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestLookup verifies that Lookup finds a token by its current and its previous secret, even
// if the token is revoked, and that this doesn't count as a request.
func TestLookup(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, old := s.create(t)
	_, secret, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: time.Hour}, testActor)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Revoke(tok.ID, token.AnyVersion, testActor); err != nil {
		t.Fatal(err)
	}
	for c, wantPrevious := range map[token.Credential]bool{old: true, parsed(t, secret): false} {
		found, previous, err := s.Lookup(c)
		if err != nil || found.Token.ID != tok.ID || previous != wantPrevious ||
			!reflect.DeepEqual(found.Usage, Usage{}) {
			t.Errorf("Lookup returned %+v, %v, %v", found, previous, err)
		}
	}
	if _, _, err := s.Lookup(unknown(t, secret.Reveal(), secretOffset)); !errors.Is(err, ErrNotFound) {
		t.Errorf("looking up an unknown secret: got error %v, want ErrNotFound", err)
	}
}
