package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profileSeconds is how long a profile is taken.
const profileSeconds = 5

// profile writes a profile of the row's Caddy while it serves alone.
func (c *contest) profile(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	taken := make(chan error, 1)
	name := strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(c.row.name) + ".pprof"
	go func() { taken <- takeProfile(ctx, c.adminSocket, filepath.Join(dir, name)) }()
	var alone measured
	if err := errors.Join(alone.measure(c.own, c.ownLoad, (profileSeconds+1)*time.Second), <-taken); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s, alone: %.2f µs of processor time a request\n", c.row.name, alone.perRequest())
	return nil
}

func takeProfile(ctx context.Context, socket, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("http://caddy/debug/pprof/profile?seconds=%d", profileSeconds), nil)
	if err != nil {
		return err
	}
	answer, err := overSocket(socket).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the admin endpoint answered with %s", answer.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = file.ReadFrom(answer.Body)
	return errors.Join(err, file.Close())
}
