package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/mollygate/mollygate/admin/client"
)

// changesPerSecond is how many changes churn makes per second.
const changesPerSecond = 100

// churn creates and revokes keys through a Caddy's admin endpoint until ctx is done.
func churn(ctx context.Context, socket string) error {
	api, err := client.New(overSocket(socket), "http://caddy/api_tokens/v1")
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / changesPerSecond)
	defer tick.Stop()
	id := "" // of the key to revoke next
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if id != "" {
			_, err = api.Revoke(ctx, id)
			id = ""
		} else {
			var created client.Created
			created, err = api.Create(ctx, client.CreateRequest{Name: "churn", Preset: "read", ExpiresIn: "1d"})
			id = created.ID
		}
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			return fmt.Errorf("changing keys: %w", err)
		}
	}
}

// overSocket returns a client for the admin endpoint on a Unix socket.
func overSocket(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}
