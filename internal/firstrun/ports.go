package firstrun

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Default ports.
const (
	defaultPort      = 8080
	defaultDashboard = 8082
	defaultAdmin     = 2019
)

// ports are the gate's addresses.
type ports struct {
	gate, dashboard string
	// admin is the address of Caddy's admin endpoint, in the format of the "admin" option.
	admin string
}

func (p ports) gateURL() string { return "http://localhost:" + p.gate }

func (p ports) dashboardURL() string { return "http://localhost:" + p.dashboard }

// findPorts checks that the ports are free. Instead of a default port that is taken, it uses the
// next free one, which it reports with note. A port from the environment must be free.
func findPorts(note func(string)) (found ports, err error) {
	taken := make(map[string]bool)
	if found.gate, err = findPort("the gate", portVariable, defaultPort, taken, note); err != nil {
		return found, err
	}
	if found.dashboard, err = findPort("the dashboard", dashboardVariable, defaultDashboard, taken, note); err != nil {
		return found, err
	}
	found.admin, err = findAdmin(taken, note)
	return found, errors.Join(err, os.Setenv(portVariable, found.gate), os.Setenv(dashboardVariable, found.dashboard),
		os.Setenv(adminVariable, found.admin))
}

// findPort returns the port for a purpose: the one in the variable or, by default, a free one.
func findPort(purpose, variable string, fallback int, taken map[string]bool, note func(string)) (string, error) {
	port := os.Getenv(variable)
	given := port != ""
	if !given {
		port = strconv.Itoa(fallback)
	} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("%s=%q must be a port number from 1 to 65535", variable, port)
	}
	user := portUser(port, taken)
	if user == "" {
		taken[port] = true
		return port, nil
	}
	free := nextFree(port, taken)
	if free == "" {
		return "", fmt.Errorf("port %s for %s %s, and so are the next ports; choose one with %s", port, purpose, user,
			variable)
	}
	if given {
		return "", fmt.Errorf("port %s for %s (%s) %s; stop that program or choose another port, such as %s=%s", port,
			purpose, variable, user, variable, free)
	}
	note(fmt.Sprintf("Port %s %s. For %s, using port %s.", port, user, purpose, free))
	taken[free] = true
	return free, nil
}

// nextFree returns the first free port after port, or "".
func nextFree(port string, taken map[string]bool) string {
	first, _ := strconv.Atoi(port) // checked before
	for n := first + 1; n < min(first+100, 65536); n++ {
		if next := strconv.Itoa(n); portUser(next, taken) == "" {
			return next
		}
	}
	return ""
}

// findAdmin returns the address of Caddy's admin endpoint.
func findAdmin(taken map[string]bool, note func(string)) (string, error) {
	const purpose = "Caddy's admin endpoint"
	text := os.Getenv(adminVariable)
	if text == "" {
		port, err := findPort(purpose, adminVariable, defaultAdmin, taken, note)
		return "localhost:" + port, err
	}
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil || !strings.HasPrefix(address.Network, "tcp") {
		return text, nil // a unix socket can't be shared, and Caddy reports errors
	}
	port := strconv.FormatUint(uint64(address.StartPort), 10)
	user := portUser(port, taken)
	if user == "" {
		return text, nil
	}
	return "", fmt.Errorf("port %s for %s (%s) %s; stop that program or choose another port, such as %s=localhost:%s",
		port, purpose, adminVariable, user, adminVariable, nextFree(port, taken))
}

// portUser is like occupant, but it also knows the ports that this command is going to use.
func portUser(port string, taken map[string]bool) string {
	if taken[port] {
		return "is used for another purpose by this command"
	}
	return occupant(port)
}

// answerTimeout limits how long a program on a port may take to answer.
const answerTimeout = time.Second

// occupant describes the program that uses a port, or returns "" if the port is free. The
// description follows the port's number in a sentence.
func occupant(port string) string {
	for _, host := range []string{"127.0.0.1", "::1"} {
		dialer := net.Dialer{Timeout: answerTimeout}
		conn, err := dialer.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port))
		if err == nil {
			return "is in use: " + identify(conn)
		}
	}
	// The program may listen on another address, or not accept connections yet. Unlike Caddy,
	// package net doesn't share ports.
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", ":"+port)
	if err != nil {
		return "can't be used: " + cause(err)
	}
	if err := listener.Close(); err != nil {
		return "can't be used: " + cause(err)
	}
	return ""
}

// cause returns the last part of an error from package net.
func cause(err error) string {
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		err = operation.Err
	}
	return err.Error()
}

// identify asks the program at the other end for an HTTP response and describes it. It closes
// the connection.
func identify(conn net.Conn) string {
	defer func() { _ = conn.Close() }()
	const silent = "a program there doesn't answer HTTP requests"
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return silent
	}
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return silent
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return silent
	}
	_ = response.Body.Close() // not read
	server := response.Header.Get("Server")
	if server == "" {
		server = "an HTTP server"
	}
	return fmt.Sprintf("%s answers there with status %d", plain(server), response.StatusCode)
}

// plain returns at most 30 printable characters of text from another program.
func plain(text string) string {
	printable := func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}
	text = strings.Map(printable, text)
	return text[:min(len(text), 30)]
}
