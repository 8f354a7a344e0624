package bolt

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// fuzzRecord makes a record from a byte for the kind and a key and value from the rest. So that
// the records have something to do with each other, most kinds are valid records of a few tokens
// with a few secrets.
func fuzzRecord(kind byte, b []byte) Record {
	at := func(i int) byte { return append(b, 0, 0, 0)[i] }
	tok := sharedToken(int(at(0)%4), fmt.Sprint(at(1)%5))
	if at(2) > 0 {
		tok.PreviousDigest = token.DigestOf(fmt.Sprint(at(2) % 5))
	}
	tok.Digest = token.DigestOf(fmt.Sprint(at(1) % 5))
	digest := bytes.Clone(tok.Digest[:])
	switch kind % 8 {
	case 0, 1:
		return tokenRecord(tok)
	case 2:
		return deletion(tok)
	case 3:
		return Record{TokensTable, bytes.Clone(tok.ID[:]), b}
	case 4:
		ended := tokenstore.EndedSecret{Digest: tok.Digest, At: testTime}
		return Record{EndedTable, digest, tokenstore.EncodeEnded(ended)}
	case 5:
		request := tokenstore.KeptRequest{Key: tok.Digest, Body: tok.Digest, ID: tok.ID,
			Time: testTime.AddDate(0, 0, int(at(2)))}
		return Record{RequestsTable, digest, tokenstore.EncodeRequest(request)}
	case 6:
		return Record{Table(kind/8%4) + 1, digest, nil}
	}
	half := len(b) / 2
	return Record{Table(kind/8%4) + 1, b[:half], b[half:]}
}

// FuzzFollow follows arbitrary records. The file must stay sound, a backup must succeed, and the
// number of damaged tokens must be right.
func FuzzFollow(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 3, 0, 0, 0, 2, 0, 0, 0}, uint8(2))
	f.Add([]byte{0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 2, 1, 2, 0, 0, 0}, uint8(1))
	f.Add([]byte{0, 0, 1, 2, 0, 1, 2, 1, 3, 0, 0, 0, 0, 2, 1, 0, 2, 1, 0, 0}, uint8(3))
	f.Add([]byte{4, 0, 1, 2, 0, 0, 1, 0, 5, 0, 1, 2, 5, 0, 1, 3, 14, 0, 1, 0}, uint8(9))
	f.Add([]byte{7, 1, 2, 3, 15, 1, 2, 3, 23, 1, 2, 3, 31, 1, 2, 3}, uint8(9))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		path := dir + "/replica.db"
		defer os.Remove(path)
		r, err := OpenReplica(path)
		check(t, err)
		defer r.Close()
		r.current.Load().db.NoSync = true
		var u Update
		for ; len(b) >= 4; b = b[4:] {
			u.Records = append(u.Records, fuzzRecord(b[0], b[1:4]))
			u.Usage = []NodeUsage{nodeUsage("a", sharedToken(int(b[1]%4), ""), 1, usedOn(today, 1))}
			if len(u.Records) > int(step%8) {
				check(t, r.Follow(u))
				u = Update{}
			}
		}
		check(t, r.Follow(u))
		backup, _, err := r.Backup()
		check(t, err)
		check(t, backup.Close())
		damaged := r.Health().Damaged
		check(t, r.Close())
		report, err := Check(path)
		if err != nil || len(report.Problems) > 0 {
			t.Fatalf("got problems %q, err %v, want none", report.Problems, err)
		}
		if len(report.Damaged) != damaged {
			t.Fatalf("Health counted %d damaged tokens, want %d", damaged, len(report.Damaged))
		}
	})
}
