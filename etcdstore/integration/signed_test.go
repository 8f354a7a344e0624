package integration

import (
	"errors"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// signed makes a node sign its records.
func signed(key string) func(*nodeOptions) {
	return func(o *nodeOptions) { o.RecordKey = []byte(key) }
}

// attacker is a client that can write to etcd.
type attacker struct {
	testing.TB
	*clientv3.Client
	prefix string
}

func (a *attacker) get(key string) string {
	a.Helper()
	got, err := a.Get(a.Context(), a.prefix+key)
	check(a, err)
	if len(got.Kvs) != 1 {
		a.Fatalf("%s has %d records", key, len(got.Kvs))
	}
	return string(got.Kvs[0].Value)
}

// put writes a record and waits until the nodes have seen it.
func (a *attacker) put(key, value string, nodes ...*node) {
	a.Helper()
	put, err := a.Put(a.Context(), a.prefix+key, value)
	check(a, err)
	for _, n := range nodes {
		eventually(a, func() error { return n.reached(put.Header.Revision) })
		n.sync(a)
	}
}

// compact makes etcd forget all earlier revisions.
func (a *attacker) compact() {
	a.Helper()
	put, err := a.Put(a.Context(), "/compacted", "")
	check(a, err)
	_, err = a.Compact(a.Context(), put.Header.Revision)
	check(a, err)
}

// TestSignedByOthers opens nodes whose record_key differs from the store's.
func TestSignedByOthers(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	for _, test := range []struct{ name, key, other, want string }{
		{"no key", "key", "", "records are signed: configure the gates' record_key"},
		{"other key", "key", "other", "record_key differs"},
		{"not signed", "", "key", "aren't signed: remove record_key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			prefix := prefixOf(t.Name())
			n := startNodes(t, etcd, prefix, 1, signed(test.key))[0]
			_, secret := n.create(t)
			other := startNodes(t, etcd, prefix, 1, signed(test.other), func(o *nodeOptions) { o.alone = true })[0]
			eventually(t, func() error {
				if err := other.problem(); err == nil || !strings.Contains(err.Error(), test.want) {
					return errors.Join(errors.New("unexpected problem"), err)
				}
				return nil
			})
			if _, err := other.Authenticate(secret, other.Now()); !errors.Is(err, tokenstore.ErrStale) ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("Authenticate: %v", err)
			}
			if _, _, err := other.Create(testPolicy, draft(), testActor); !errors.Is(err, tokenstore.ErrUnavailable) {
				t.Errorf("Create: %v", err)
			}
		})
	}
}

// TestForgedRecords writes records with an etcd client. Nodes that sign records must not accept
// them, and must go on serving other tokens.
func TestForgedRecords(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startAll(t, etcd, signed("key"))
	a := &attacker{t, etcd.Client(), prefixOf(t.Name())}
	victim, victimSecret := nodes[0].create(t)
	other, otherSecret := nodes[0].create(t)
	for _, n := range nodes {
		n.sync(t)
	}
	wantVerdict(t, nodes[:2], victimSecret, active) // in memory at two nodes
	wantVerdict(t, nodes, otherSecret, active)

	// A record of an attacker's own, without a code and with another token's.
	secret := "mma_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi"
	forged := *other
	forged.ID, forged.Kind, forged.Digest, forged.Version = token.ID([]byte("4fQ9Zt2LkVb7")), token.KindAdmin,
		token.DigestOf(secret), 1
	genuine := a.get("g/1/t/" + other.ID.String())
	for _, record := range []string{
		string(token.EncodeToken(&forged)),
		string(token.EncodeToken(&forged)) + genuine[len(genuine)-sealLength:],
		genuine,
	} {
		a.put("g/1/t/4fQ9Zt2LkVb7", record, nodes...)
		wantVerdict(t, nodes, token.Credential{Format: token.FormatNative, Digest: forged.Digest}, unknown)
		if _, err := nodes[1].Get(forged.ID); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("a forged token: %v", err)
		}
	}
	// Another token's record in place of the victim's, and an altered one.
	altered := []byte(a.get("g/1/t/" + victim.ID.String()))
	altered[len(altered)-sealLength-1] ^= 1
	for _, record := range []string{genuine, string(altered), "", strings.Repeat("x", 1000)} {
		a.put("g/1/t/"+victim.ID.String(), record, nodes...)
		for i, n := range nodes {
			if _, err := n.Authenticate(victimSecret, n.Now()); !errors.Is(err, token.ErrDamaged) {
				t.Errorf("node %d: the victim's verdict: %v", i, err)
			}
			if _, err := n.Revoke(victim.ID, token.AnyVersion, testActor); !errors.Is(err, token.ErrDamaged) {
				t.Errorf("node %d: Revoke: %v", i, err)
			}
		}
		wantVerdict(t, nodes, otherSecret, active)
	}
	// Forged audit entries, ended secrets, requests and usage are ignored.
	entries, _, err := nodes[1].Audit(tokenstore.AuditPage{Limit: 100})
	check(t, err)
	a.put("g/1/a/"+strings.Repeat("f", 32), "forged", nodes...)
	a.put("g/1/e/"+strings.Repeat("ab", 32), "forged", nodes...)
	a.put("g/1/r/"+strings.Repeat("ab", 32), "forged", nodes...)
	a.put("g/1/u/other/totals/"+other.ID.String()[10:], "forged", nodes...)
	a.put("g/1/u/other/days/22222/"+other.ID.String()[10:], genuine, nodes...)
	a.put("g/1/change", "g/1/a/"+strings.Repeat("f", 32), nodes...)
	a.put("told", "12345678", nodes...)
	for i, n := range nodes {
		if got, _, err := n.Audit(tokenstore.AuditPage{Limit: 100}); err != nil || len(got) != len(entries) {
			t.Errorf("node %d: %d audit entries, %v; want %d", i, len(got), err, len(entries))
		}
		if got := n.allowed(t, other.ID); got != 0 {
			t.Errorf("node %d: %d requests", i, got)
		}
	}
	// A damaged token can be deleted, and the nodes still follow.
	check(t, nodes[2].Delete(victim.ID, token.AnyVersion, testActor))
	check(t, nodes[2].Delete(forged.ID, token.AnyVersion, testActor))
	_, made := nodes[1].create(t)
	for _, n := range nodes {
		n.sync(t)
	}
	wantVerdict(t, nodes, victimSecret, unknown)
	wantVerdict(t, nodes, made, active)
	// Nodes come to the same after they have read everything.
	for i, n := range nodes {
		check(t, n.Close())
		a.compact()
		nodes[i] = n.restartWith(t)
	}
	wantVerdict(t, nodes, made, active)
	wantVerdict(t, nodes, otherSecret, active)
}

// TestOlderRecord puts back a token's record from before a revocation. It must not make the token
// valid again at a node that knows the revocation.
func TestOlderRecord(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startAll(t, etcd, signed("key"))
	a := &attacker{t, etcd.Client(), prefixOf(t.Name())}
	tok, secret := nodes[0].create(t)
	_, otherSecret := nodes[0].create(t)
	key := "g/1/t/" + tok.ID.String()
	older := a.get(key)
	_, err := nodes[0].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	for _, n := range nodes {
		n.sync(t)
	}
	wantVerdict(t, nodes[:2], secret, revoked)
	refused := func(when string) {
		t.Helper()
		for i, n := range nodes {
			if _, err := n.Authenticate(secret, n.Now()); !errors.Is(err, token.ErrDamaged) {
				t.Errorf("%s, node %d: %v, want ErrDamaged", when, i, err)
			}
		}
		wantVerdict(t, nodes, otherSecret, active)
	}
	a.put(key, older, nodes...)
	refused("put back")
	a.put(key, older, nodes...)
	refused("put back twice")
	name := "edited"
	for _, n := range nodes {
		if _, err := n.Edit(testPolicy, tok.ID, token.Edit{Name: &name}, testActor); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("Edit: %v, want ErrDamaged", err)
		}
	}
	for _, n := range nodes {
		n.sync(t)
	}
	refused("edited")
	nodes[0].link.cut()
	a.put(key, older)
	a.compact()
	nodes[0].link.join()
	nodes[0].sync(t)
	nodes[1] = nodes[1].restartWith(t)
	refused("listed")
	check(t, nodes[2].Delete(tok.ID, token.AnyVersion, testActor))
	for _, n := range nodes {
		n.sync(t)
	}
	wantVerdict(t, nodes, secret, unknown)
}
