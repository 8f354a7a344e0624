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

// server is a measured server: one or two processes behind one port.
type server struct {
	address   string
	secure    bool
	processes []*exec.Cmd
	// log is the path of the file for the processes' output.
	log string
}

// cpu returns the CPU time that the server has used.
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

// start starts another server process, pinned to the CPU reserved for servers.
func (s *server) start(command *exec.Cmd) error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
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
	return s.start(exec.CommandContext(ctx, self, args...)) //nolint:gosec // runs this program
}

// startCaddy starts Caddy with a configuration, which it writes to dir.
func (s *server) startCaddy(ctx context.Context, dir, caddyfile string) error {
	path := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		return err
	}
	return s.startSelf(ctx, "caddy", "run", "--config", path)
}

// dial opens a connection to the server, including the TLS handshake.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil || !s.secure {
		return conn, err
	}
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}} //nolint:gosec // self-signed
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// await waits until the server accepts connections and, with TLS, completes a handshake:
// Caddy accepts connections before it has its certificate.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := s.dial(ctx)
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() != nil {
			log, _ := os.ReadFile(s.log) // may be missing
			return fmt.Errorf("server didn't start: %w\n%s", err, log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop interrupts the server's processes and waits for them to exit.
func (s *server) stop() error {
	var errs []error
	for _, process := range s.processes {
		errs = append(errs, process.Process.Signal(os.Interrupt))
		_ = process.Wait() // the exit status doesn't matter
	}
	return errors.Join(errs...)
}

// freeAddress returns a loopback address with a free port.
func freeAddress() (string, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
