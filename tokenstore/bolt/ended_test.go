package bolt

import (
	"errors"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

const importedUUID = "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10"

func importToken(s *tokenstore.Store) (*token.Token, error) {
	month, err := token.ParseLifetime("1mo")
	if err != nil {
		return nil, err
	}
	draft := token.Draft{Kind: token.KindAPI, Name: "old", Preset: "full", Expiry: token.Expiry{ExpiresIn: month}}
	token, _, err := s.Import(testPolicy, draft, importedUUID, testActor)
	return token, err
}

// TestEndedEntryDamaged verifies that a secret is refused even if its entry in the ended
// bucket is damaged, and that Check reports the damage.
func TestEndedEntryDamaged(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	tok, err := importToken(s)
	check(t, err)
	check(t, s.Delete(tok.ID, token.AnyVersion, testActor))
	check(t, s.Close())
	damageClosed(t, path, endedBucket)
	if report, err := Check(path); err != nil || len(report.Problems) != 1 ||
		!strings.Contains(report.Problems[0], "taken out of service") {
		t.Errorf("Check: got problems %v, err %v, want the ended secret reported", report.Problems, err)
	}
	s = openStore(t, mustOpen(t, path))
	if _, err := importToken(s); err == nil || !errors.As(err, new(*tokenstore.EndedError)) {
		t.Errorf("importing an ended secret: got err %v, want an EndedError", err)
	}
	check(t, s.Close())
	checkRepaired(t, path)
}

// checkRepaired verifies that a closed, repaired store has no faults left.
func checkRepaired(t *testing.T, path string) {
	t.Helper()
	if report, err := Check(path); err != nil || len(report.Problems) > 0 {
		t.Errorf("Check after the repair: got problems %v, err %v, want none", report.Problems, err)
	}
	b := mustOpen(t, path)
	if repairs := b.Health().Repairs; len(repairs) > 0 {
		t.Errorf("the store was repaired a second time: %v", repairs)
	}
	check(t, b.Close())
}

// TestEndedSecretInUse verifies that Check reports a token whose secret was taken out of
// service, and that the repair makes it a damaged token.
func TestEndedSecretInUse(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	tok := makeToken(t, openStore(t, b))
	check(t, b.update(func(tx *bbolt.Tx) error {
		return putEnded(tx, tokenstore.EndedSecret{Digest: tok.Digest, At: testTime}, false)
	}))
	check(t, b.Close())
	if report, err := Check(path); err != nil || len(report.Problems) != 1 ||
		!strings.Contains(report.Problems[0], tok.ID.String()) {
		t.Errorf("Check: got problems %v, err %v, want the token reported", report.Problems, err)
	}
	s := openStore(t, mustOpen(t, path))
	if _, err := s.Authenticate(tok.credential, testTime); !errors.Is(err, token.ErrDamaged) {
		t.Errorf("Authenticate: got err %v, want ErrDamaged", err)
	}
	check(t, s.Close())
	checkRepaired(t, path)
}
