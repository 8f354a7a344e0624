package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// server is what a row measures: one process, or two, behind one port.
type server struct {
	address   string
	secure    bool
	processes []*exec.Cmd
	// log is the file that the processes write to.
	log string
}

// cpu returns how much processor time the server has used.
func (s *server) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, process := range s.processes {
		used, err := cpuTime(process.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// start starts one more process of the server, on the processor of the servers.
func (s *server) start(command *exec.Cmd) error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), "GOMAXPROCS=1")
	if err := startPinned(command); err != nil {
		return fmt.Errorf("starting %s: %w", command.Path, err)
	}
	s.processes = append(s.processes, command)
	return nil
}

// startSelf starts this program in another role.
func (s *server) startSelf(ctx context.Context, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return s.start(exec.CommandContext(ctx, self, args...)) //nolint:gosec // it is this program
}

// startCaddy starts a Caddy with a configuration, which lies in a directory of its own.
func (s *server) startCaddy(ctx context.Context, dir, caddyfile string) error {
	path := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		return err
	}
	return s.startSelf(ctx, "caddy", "run", "--config", path)
}

// dial opens a connection to the server, with its handshake.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil || !s.secure {
		return conn, err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // a certificate of its own
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// await waits until the server takes connections. A Caddy makes its certificate when
// it takes them already.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := s.dial(ctx)
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() != nil {
			log, _ := os.ReadFile(s.log) // if there is none, what is known says enough
			return fmt.Errorf("a server didn't start: %w\n%s", err, log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop ends the server and waits for its end.
func (s *server) stop() error {
	var errs []error
	for _, process := range s.processes {
		errs = append(errs, process.Process.Signal(os.Interrupt))
		_ = process.Wait() // how it ended is nothing to the figures
	}
	return errors.Join(errs...)
}

// freeAddress returns an address of this machine that nobody listens at.
func freeAddress() (string, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
