// Command etcdmember runs an etcd member as a process of its own, for tests that kill or stop it.
// It prints "ready" once it serves clients.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "etcdmember: %v\n", err)
		os.Exit(1)
	}
}

// parse returns the configuration for the command's arguments.
func parse(args []string) (*embed.Config, error) {
	config := embed.NewConfig()
	config.ClusterState = embed.ClusterStateFlagNew
	config.BcryptCost = 4 // the lowest, so that logins are fast
	config.LogLevel = "warn"
	flags := flag.NewFlagSet("etcdmember", flag.ContinueOnError)
	flags.StringVar(&config.Name, "name", "member0", "member's `name`")
	flags.StringVar(&config.Dir, "data-dir", "", "`directory` for the data (required)")
	client := flags.String("client-url", "http://127.0.0.1:2379", "`URL` for clients")
	peer := flags.String("peer-url", "http://127.0.0.1:2380", "`URL` for other members")
	flags.StringVar(&config.InitialCluster, "initial-cluster", "",
		"all members, as `name=URL,...`; default: this member only")
	flags.StringVar(&config.InitialClusterToken, "initial-cluster-token", "test",
		"`text` that distinguishes clusters")
	flags.UintVar(&config.TickMs, "heartbeat-interval", 50, "interval in `ms`")
	flags.UintVar(&config.ElectionMs, "election-timeout", 500, "timeout in `ms`")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 || config.Dir == "" {
		return nil, errors.New("set -data-dir, and no arguments but flags")
	}
	if config.InitialCluster == "" {
		config.InitialCluster = config.Name + "=" + *peer
	}
	var err error
	if config.ListenClientUrls, err = urls(*client); err != nil {
		return nil, fmt.Errorf("client-url: %w", err)
	}
	if config.ListenPeerUrls, err = urls(*peer); err != nil {
		return nil, fmt.Errorf("peer-url: %w", err)
	}
	config.AdvertiseClientUrls, config.AdvertisePeerUrls = config.ListenClientUrls, config.ListenPeerUrls
	return config, nil
}

func urls(text string) ([]url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	return []url.URL{*u}, nil
}

// serve runs a member until the process receives a signal.
func serve(args []string) error {
	config, err := parse(args)
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
