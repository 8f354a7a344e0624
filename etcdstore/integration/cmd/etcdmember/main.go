// Command etcdmember runs an etcd member as a process of its own, for tests that kill or stop it.
// It prints "ready" once it serves clients.
//
//	etcdmember [flags]
//	etcdmember save [flags] <snapshot>       # saves a snapshot of a member's data
//	etcdmember restore [flags] <snapshot>    # creates a member's data from a snapshot
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

func main() {
	run, args := serve, os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "save":
			run, args = save, args[1:]
		case "restore":
			run, args = restore, args[1:]
		}
	}
	if err := run(args); err != nil {
		fmt.Fprintf(os.Stderr, "etcdmember: %v\n", err)
		os.Exit(1)
	}
}

// options are the flags of all commands.
type options struct {
	*flag.FlagSet
	name, dir, client, peer, cluster, state, token string
	ca, cert, key                                  string
	forceNew, noFsync, mark                        bool
	bump                                           uint64
	quota                                          int64
	tick, election                                 uint
}

func parse(command string, args []string, operands int) (*options, error) {
	o := &options{FlagSet: flag.NewFlagSet(command, flag.ContinueOnError)}
	o.StringVar(&o.name, "name", "member0", "member's `name`")
	o.StringVar(&o.dir, "data-dir", "", "`directory` for the data (required)")
	o.StringVar(&o.client, "client-url", "http://127.0.0.1:2379", "`URL` for clients")
	o.StringVar(&o.peer, "peer-url", "http://127.0.0.1:2380", "`URL` for other members")
	o.StringVar(&o.cluster, "initial-cluster", "", "all members, as `name=URL,...`; default: this member only")
	o.StringVar(&o.state, "initial-cluster-state", embed.ClusterStateFlagNew, "`new` or existing")
	o.StringVar(&o.token, "initial-cluster-token", "test", "`text` that distinguishes clusters")
	o.StringVar(&o.ca, "trusted-ca-file", "", "authority of client certificates, a PEM `file`; requires them")
	o.StringVar(&o.cert, "cert-file", "", "server certificate, a PEM `file`")
	o.StringVar(&o.key, "key-file", "", "server key, a PEM `file`")
	o.BoolVar(&o.forceNew, "force-new-cluster", false, "forget all other members")
	o.BoolVar(&o.noFsync, "no-fsync", false, "don't wait for the disk")
	o.Int64Var(&o.quota, "quota-backend-bytes", 0, "limit for the size of the database in `bytes`")
	o.UintVar(&o.tick, "heartbeat-interval", 50, "interval in `ms`")
	o.UintVar(&o.election, "election-timeout", 500, "timeout in `ms`")
	o.Uint64Var(&o.bump, "bump-revision", 0, "restore: `number` to add to the revision")
	o.BoolVar(&o.mark, "mark-compacted", false, "restore: mark all revisions as compacted; needs bump-revision")
	if err := o.Parse(args); err != nil {
		return nil, err
	}
	if o.NArg() != operands {
		return nil, fmt.Errorf("%s takes %d arguments, not %d", command, operands, o.NArg())
	}
	if o.dir == "" && command != "save" {
		return nil, errors.New("set -data-dir")
	}
	if o.cluster == "" {
		o.cluster = o.name + "=" + o.peer
	}
	return o, nil
}

// serve runs a member until the process receives a signal.
func serve(args []string) error {
	o, err := parse("etcdmember", args, 0)
	if err != nil {
		return err
	}
	config, err := o.config()
	if err != nil {
		return err
	}
	signals, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	member, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer member.Close()
	select {
	case <-member.Server.ReadyNotify():
		fmt.Println("ready")
	case <-signals.Done():
		return nil
	case err := <-member.Err():
		return err
	}
	select {
	case <-signals.Done():
		return nil
	case err := <-member.Err():
		return err
	}
}

// config returns the configuration for serve.
func (o *options) config() (*embed.Config, error) {
	client, err := url.Parse(o.client)
	if err != nil {
		return nil, fmt.Errorf("client-url: %w", err)
	}
	peer, err := url.Parse(o.peer)
	if err != nil {
		return nil, fmt.Errorf("peer-url: %w", err)
	}
	config := embed.NewConfig()
	config.Name, config.Dir = o.name, o.dir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster, config.ClusterState, config.InitialClusterToken = o.cluster, o.state, o.token
	config.ClientTLSInfo = transport.TLSInfo{
		CertFile: o.cert, KeyFile: o.key, TrustedCAFile: o.ca, ClientCertAuth: o.ca != "",
	}
	config.ForceNewCluster = o.forceNew
	config.UnsafeNoFsync = o.noFsync
	config.QuotaBackendBytes = o.quota
	config.TickMs, config.ElectionMs = o.tick, o.election
	config.BcryptCost = 4 // the lowest, so that logins are fast
	config.LogLevel = "warn"
	return config, nil
}

// save saves a snapshot of a running member's data.
func save(args []string) error {
	o, err := parse("save", args, 1)
	if err != nil {
		return err
	}
	config := clientv3.Config{Endpoints: []string{o.client}, Logger: zap.NewNop()}
	if strings.HasPrefix(o.client, "https:") {
		tls := transport.TLSInfo{CertFile: o.cert, KeyFile: o.key, TrustedCAFile: o.ca}
		if config.TLS, err = tls.ClientConfig(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = snapshot.NewV3(zap.NewNop()).Save(ctx, config, o.Arg(0))
	return err
}

// restore creates a member's data from a snapshot.
func restore(args []string) error {
	o, err := parse("restore", args, 1)
	if err != nil {
		return err
	}
	return snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath:        o.Arg(0),
		Name:                o.name,
		OutputDataDir:       o.dir,
		PeerURLs:            []string{o.peer},
		InitialCluster:      o.cluster,
		InitialClusterToken: o.token,
		RevisionBump:        o.bump,
		MarkCompacted:       o.mark,
	})
}
