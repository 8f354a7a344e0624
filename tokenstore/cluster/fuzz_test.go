package cluster_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fuzzNode is a node that signs records, with one token.
type fuzzNode struct {
	*tokenstore.Store
	memory *memory
	tok    *token.Token
	secret token.Credential
}

func openFuzzNode(t testing.TB, dir string) *fuzzNode {
	t.Helper()
	n := &fuzzNode{memory: newMemory()}
	replica, err := bolt.OpenReplica(filepath.Join(dir, "replica.db"))
	check(t, err)
	backend, err := cluster.Open(cluster.Options{Engine: n.memory, Replica: replica, RecordKey: []byte("key")})
	check(t, err)
	n.Store, err = tokenstore.Open(backend, tokenstore.Options{FlushInterval: -1})
	check(t, err)
	t.Cleanup(func() { _ = n.Close() })
	for n.Sync(t.Context()) != nil || backend.Stale() != nil {
		time.Sleep(time.Millisecond)
	}
	year, err := token.ParseLifetime("12mo")
	check(t, err)
	policy := token.Policy{Prefixes: token.Prefixes{token.DefaultPrefix}, MaxLifetime: year,
		Accounts: []string{"default"}}
	tok, secret, err := n.Create(policy, token.Draft{Kind: token.KindAdmin, Name: "genuine",
		Expiry: token.Expiry{ExpiresIn: year}}, tokenstore.Actor{Name: "me"})
	check(t, err)
	n.tok = tok
	n.secret, err = policy.Prefixes.Parse(secret.Reveal())
	check(t, err)
	_, err = n.Authenticate(n.secret, n.Now())
	check(t, err)
	return n
}

// FuzzReceive writes a record to the shared store without the key that signs records. The node
// must not crash and must not accept the record as a token.
func FuzzReceive(f *testing.F) {
	n := openFuzzNode(f, f.TempDir())
	forged := *n.tok
	forged.ID, forged.Digest = token.ID([]byte("4fQ9Zt2LkVb7")), token.DigestOf("secret")
	record := token.EncodeToken(&forged)
	genuine := n.memory.records["g/1/t/"+n.tok.ID.String()].Value
	for _, key := range []string{"g/1/t/4fQ9Zt2LkVb7", "g/1/t/short", "g/1/t/4fQ9Zt2LkVb/",
		"g/1/a/" + strings.Repeat("ab", 16), "g/1/a/x", "g/1/d/" + strings.Repeat("ab", 32),
		"g/1/e/" + strings.Repeat("ab", 32),
		"g/1/r/" + strings.Repeat("ab", 32), "g/1/u/node/totals/aa", "g/1/u/node/days/20000/aa",
		"g/1/u/node/sums/20000",
		"g/1/u/", "g/1/u/node/days", "g/1/change", "g/1/", "g/2/t/4fQ9Zt2LkVb7", "node/other", "node/",
		"told", "backup",
		"value/key", "values", "confirm/x", "generation/1", "quota/x", "", "/"} {
		for _, value := range [][]byte{record, genuine, {}, make([]byte, 40), []byte("{}")} {
			f.Add(key, value)
		}
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		if key == "store" || key == "g/1/t/"+n.tok.ID.String() || value == nil {
			return // the token itself, which becomes damaged
		}
		before := n.memory.records[key]
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := n.memory.Commit(ctx, nil, []cluster.Write{{Key: key, Value: value}})
		check(t, err)
		check(t, n.Sync(ctx))
		tokens, _, err := n.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 10})
		check(t, err)
		for _, u := range tokens {
			if u.Token.ID != n.tok.ID && !u.Token.Damaged {
				t.Errorf("a record made token %s", u.Token.ID)
			}
		}
		if m, err := n.Authenticate(n.secret, n.Now()); err != nil || m.Status != token.StatusActive {
			t.Errorf("the genuine token: %v, %v", m.Status, err)
		}
		if m, err := n.Authenticate(token.Credential{Digest: forged.Digest}, n.Now()); err == nil {
			t.Errorf("a forged secret: %v", m.Status)
		}
		restore := cluster.Write{Key: key}
		if before.Revision != 0 {
			restore.Value = before.Value
		}
		_, err = n.memory.Commit(ctx, nil, []cluster.Write{restore})
		check(t, err)
	})
}
