package integration

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

const password = "correct-horse"

// requireLogin turns on authentication. User gate may access the prefix /gate/ only.
func requireLogin(t testing.TB, client *clientv3.Client) {
	t.Helper()
	ctx := t.Context()
	end := clientv3.GetPrefixRangeEnd("/gate/")
	for _, step := range []func() error{
		func() error { _, err := client.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := client.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := client.UserAdd(ctx, "gate", password); return err },
		func() error { _, err := client.RoleAdd(ctx, "gates"); return err },
		func() error {
			_, err := client.RoleGrantPermission(ctx, "gates", "/gate/", end,
				clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := client.UserGrantRole(ctx, "gate", "gates"); return err },
		func() error { _, err := client.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// useEverything calls all methods of an engine.
func useEverything(t testing.TB, engine cluster.Engine) {
	t.Helper()
	first := put(t, engine, "a", "1")
	commits, _ := watch(t, engine, first-1)
	if got := receive(t, commits); got.Revision != first {
		t.Errorf("watch: %+v", got)
	}
	count := 0
	if _, err := engine.Snapshot(t.Context(), "", func(cluster.Record) error { count++; return nil }); err != nil ||
		count == 0 {
		t.Errorf("snapshot: %d records, %v", count, err)
	}
	if _, err := engine.Commit(t.Context(), []cluster.Condition{{Key: "a", Revision: first}},
		[]cluster.Write{{Key: "b", Value: []byte("1"), TTL: time.Second}}); err != nil {
		t.Error(err)
	}
	if _, err := engine.Commit(t.Context(), []cluster.Condition{{Key: "a"}},
		[]cluster.Write{{Key: "c", Value: []byte("1"), TTL: time.Second}}); err != nil {
		t.Error(err)
	}
	hold := mustHold(t, engine, "n", time.Second)
	if err := hold.Update(t.Context(), []byte("2")); err != nil {
		t.Error(err)
	}
	for describe(receive(t, commits)) != "-b" { // after the hold's TTL
	}
	if isLost(hold) {
		t.Error("the hold was lost")
	}
	if err := hold.Release(t.Context()); err != nil {
		t.Error(err)
	}
	for describe(receive(t, commits)) != "-n" {
	}
	if _, err := engine.Commit(t.Context(), nil, []cluster.Write{{Key: "a"}}); err != nil {
		t.Error(err)
	}
}

// TestLogin checks that a user who has access only to the prefix can do everything. It also checks
// the errors for a wrong user, password and prefix.
func TestLogin(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	as := func(username, password, prefix string) *etcdstore.Engine {
		return newEngine(t, c, func(config *etcdstore.Config) {
			config.Username, config.Password, config.Prefix = username, password, prefix
		})
	}
	early := as("gate", password, "/gate/")
	put(t, early, "early", "1") // before logins are required
	requireLogin(t, c.Client())
	put(t, early, "early", "2")
	useEverything(t, as("gate", password, "/gate/"))

	for want, engine := range map[string]*etcdstore.Engine{
		"refused the user name or password; correct the options username and password": as("gate", "wrong", "/gate/"),
		"requires a user; set the options username and password":                       as("", "", "/gate/"),
		`denies user "gate" access to keys below /other/; give one of the user's roles access: ` +
			"etcdctl role grant-permission --prefix=true ROLE readwrite /other/": as("gate", password, "/other/"),
	} {
		_, commitErr := engine.Commit(t.Context(), nil, []cluster.Write{{Key: "a", Value: []byte("1")}})
		if !errors.Is(commitErr, cluster.ErrNotCommitted) || !errors.Is(commitErr, tokenstore.ErrDenied) {
			t.Errorf("got %v, want ErrNotCommitted and ErrDenied", commitErr)
		}
		_, ttlErr := engine.Commit(t.Context(), nil, []cluster.Write{{Key: "a", Value: []byte("1"), TTL: time.Hour}})
		if !errors.Is(ttlErr, cluster.ErrNotCommitted) {
			t.Errorf("got %v, want ErrNotCommitted", ttlErr)
		}
		_, readErr := engine.Read(t.Context(), "a")
		_, snapshotErr := engine.Snapshot(t.Context(), "", nil)
		watchErr := engine.Watch(t.Context(), 0, func(cluster.Commit) error { return nil })
		_, holdErr := engine.Hold(t.Context(), "a", nil, time.Second)
		for _, err := range []error{commitErr, ttlErr, readErr, snapshotErr, watchErr, holdErr} {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "wrong") ||
				strings.Contains(err.Error(), password) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
	}
}

// TestLoginAgain checks that an engine logs in again when etcd has forgotten its login.
func TestLoginAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	requireLogin(t, c.Client())
	engine := newEngine(t, c, func(config *etcdstore.Config) {
		config.Username, config.Password, config.Prefix = "gate", password, "/gate/"
	})
	hold := mustHold(t, engine, "n", time.Minute)
	put(t, engine, "a", "1")
	c.Stop(0)
	c.Start(0)
	useEverythingButHold := put(t, engine, "a", "2")
	commits, _ := watch(t, engine, useEverythingButHold-1)
	receive(t, commits)
	c.Stop(0)
	c.Start(0)
	commits, _ = watch(t, engine, useEverythingButHold-1)
	receive(t, commits)
	if err := hold.Update(t.Context(), []byte("2")); err != nil {
		t.Error(err)
	}
}

// TestHoldSurvivesRestart checks that a hold is kept while etcd restarts and forgets the login.
func TestHoldSurvivesRestart(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	requireLogin(t, c.Client())
	engine := newEngine(t, c, func(config *etcdstore.Config) {
		config.Username, config.Password, config.Prefix = "gate", password, "/gate/"
		config.RequestTimeout = 2 * time.Second
	})
	hold := mustHold(t, engine, "n", 6*time.Second)
	c.Stop(0)
	c.Start(0)
	select {
	case <-hold.Lost():
		t.Error("the hold was lost")
	case <-time.After(15 * time.Second):
	}
}

// TestTLS checks mutual TLS, and what errors say without it. The reason for refusing a client
// without a certificate may arrive only after the connection has failed for another reason.
func TestTLS(t *testing.T) {
	t.Parallel()
	certificates := etcdtest.NewCertificates(t, "etcd.example.com", "gate")
	c := etcdtest.StartTLS(t, certificates, 1)
	pem, err := os.ReadFile(certificates.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(certificates.ClientCert, certificates.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	with := func(config *tls.Config) *etcdstore.Engine {
		return newEngine(t, c, func(engine *etcdstore.Config) {
			engine.TLS, engine.RequestTimeout = config, time.Second
		})
	}
	good := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: "etcd.example.com"}
	useEverything(t, newEngine(t, c, func(config *etcdstore.Config) { config.TLS = good }))
	for want, engine := range map[string]*etcdstore.Engine{
		"certificate signed by unknown authority": with(&tls.Config{ServerName: "etcd.example.com"}),
		"certificate required":                    with(&tls.Config{RootCAs: roots, ServerName: "etcd.example.com"}),
		"doesn't contain any IP SANs":             with(&tls.Config{RootCAs: roots, Certificates: good.Certificates}),
	} {
		eventually(t, func() error {
			_, err := engine.Read(t.Context(), "a")
			if err == nil {
				t.Fatal("etcd was reached without", want)
			}
			if !strings.Contains(err.Error(), want) {
				return fmt.Errorf("got %w, want %s", err, want)
			}
			return nil
		})
	}
}
