package bolt

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

const importedUUID = "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10"

func takeOver(s *tokenstore.Store) (*token.Token, error) {
	month, err := token.ParseLifetime("1mo")
	if err != nil {
		return nil, err
	}
	draft := token.Draft{Kind: token.KindAPI, Name: "old", Preset: "full", Expiry: token.Expiry{ExpiresIn: month}}
	token, _, err := s.Import(testPolicy, draft, importedUUID, testActor)
	return token, err
}

func refusedAsEnded(t testing.TB, when string, s *tokenstore.Store) {
	t.Helper()
	_, err := takeOver(s)
	if ended, ok := errors.AsType[*tokenstore.EndedError](err); !ok || ended.At.Sub(testTime).Abs() > time.Hour {
		t.Errorf("%s: %v", when, err)
	}
}

// TestEndedSecretsStayEnded verifies that an imported secret whose token was changed
// or deleted is refused in the next process, and after a backup was restored.
func TestEndedSecretsStayEnded(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*tokenstore.Store, token.ID) error{
		"deleted": func(s *tokenstore.Store, id token.ID) error {
			return s.Delete(id, token.AnyVersion, testActor)
		},
		"rotated": func(s *tokenstore.Store, id token.ID) error {
			_, _, err := s.Rotate(testPolicy, id, token.Rotation{}, testActor)
			return err
		},
		"rotated with a grace, and deleted": func(s *tokenstore.Store, id token.ID) error {
			_, _, err := s.Rotate(testPolicy, id, token.Rotation{Grace: 240 * time.Hour}, testActor)
			return errors.Join(err, s.Delete(id, token.AnyVersion, testActor))
		},
	} {
		path := newPath(t)
		s := storeOver(t, mustOpen(t, path))
		token, err := takeOver(s)
		check(t, err)
		check(t, end(s, token.ID))
		backup := saveBackup(t, s)
		check(t, s.Close())
		for when, path := range map[string]string{name: path, name + ", restored": newPath(t)} {
			if strings.HasSuffix(when, "restored") {
				_, err := Restore(backup, path, testTime)
				check(t, err)
			}
			if report, err := Check(path); err != nil || len(report.Problems) > 0 {
				t.Errorf("%s: %v, %v", when, report.Problems, err)
			}
			s := storeOver(t, mustOpen(t, path))
			refusedAsEnded(t, when, s)
			check(t, s.Close())
		}
	}
}

// TestEndedEntryDamaged verifies that an entry that can't be read still refuses, and
// is reported.
func TestEndedEntryDamaged(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	tok, err := takeOver(s)
	check(t, err)
	check(t, s.Delete(tok.ID, token.AnyVersion, testActor))
	check(t, s.Close())
	damageRecord(t, path, endedBucket)
	if report, err := Check(path); err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], "taken out of service") {
		t.Errorf("%v, %v", report.Problems, err)
	}
	s = storeOver(t, mustOpen(t, path))
	if _, err := takeOver(s); err == nil || !errors.As(err, new(*tokenstore.EndedError)) {
		t.Errorf("got %v", err)
	}
	check(t, s.Close())
}

// TestEndedSecretInUse verifies that a token whose secret was taken out of service is
// reported.
func TestEndedSecretInUse(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	token := makeToken(t, storeOver(t, b))
	check(t, b.update(func(tx *bbolt.Tx) error {
		return putEnded(tx, tokenstore.EndedSecret{Digest: token.Digest, At: testTime}, false)
	}))
	check(t, b.Close())
	if report, err := Check(path); err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], token.ID.String()) {
		t.Errorf("%v, %v", report.Problems, err)
	}
}

// TestEndedBesideImport verifies that an import that comes with the deletion never
// leaves the secret in service after the last deletion.
func TestEndedBesideImport(t *testing.T) {
	t.Parallel()
	s := storeOver(t, mustOpen(t, newPath(t)))
	tok, err := takeOver(s)
	check(t, err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if _, err := takeOver(s); !errors.Is(err, tokenstore.ErrTaken) {
					t.Errorf("imported again: %v", err)
				}
			}
		})
	}
	all.Go(func() {
		if err := s.Delete(tok.ID, token.AnyVersion, testActor); err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	refusedAsEnded(t, "at the end", s)
	check(t, s.Close())
}
