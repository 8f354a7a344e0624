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

// profileSeconds is a profile's duration in seconds.
const profileSeconds = 25

// profile writes a CPU profile of the row's Caddy while it is the only server under load.
func (c *comparison) profile(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	taken := make(chan error, 1)
	name := strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(c.row.name) + ".pprof"
	go func() { taken <- takeProfile(ctx, c.adminSocket, filepath.Join(dir, name)) }()
	var alone measured
	err := alone.measure(c.subject, c.subjectLoad, (profileSeconds+1)*time.Second)
	if err := errors.Join(err, <-taken); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s, alone: %.2f µs of CPU time per request\n", c.row.name, alone.perRequest())
	return nil
}

func takeProfile(ctx context.Context, socket, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("http://caddy/debug/pprof/profile?seconds=%d", profileSeconds), nil)
	if err != nil {
		return err
	}
	response, err := overSocket(socket).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("admin endpoint responded with %s", response.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = file.ReadFrom(response.Body)
	return errors.Join(err, file.Close())
}
