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

// changesPerSecond is how fast churn changes keys.
const changesPerSecond = 100

// churn makes keys and revokes them through a Caddy's admin endpoint until the context
// ends.
func churn(ctx context.Context, socket string) error {
	api, err := client.New(overSocket(socket), "http://caddy/api_tokens/v1")
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / changesPerSecond)
	defer tick.Stop()
	made := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if made != "" {
			_, err = api.Revoke(ctx, made)
			made = ""
		} else {
			var created client.Created
			created, err = api.Create(ctx, client.CreateRequest{Name: "churn", Preset: "read", ExpiresIn: "1d"})
			made = created.ID
		}
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			return fmt.Errorf("changing keys: %w", err)
		}
	}
}

// overSocket returns a client of the admin endpoint at a socket.
func overSocket(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}
