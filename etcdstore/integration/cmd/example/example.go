//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// example holds all processes.
type example struct {
	// dir contains the programs, and data everything else.
	dir, data string
	restart   time.Duration

	members, gates    []*process
	standIn, balancer *process
	// clients are the members' URLs.
	clients []string
	sites   []site
	// port and dashboard are the balancer's ports.
	port, dashboard int
	api, admin      key
}

// site holds a gate's ports.
type site struct{ gate, dashboard, admin int }

func (s site) url() string     { return fmt.Sprintf("http://localhost:%d", s.gate) }
func (s site) address() string { return fmt.Sprintf("localhost:%d", s.admin) }

// key is a key that was created for the user.
type key struct {
	ID     string `json:"id"`
	Secret string `json:"token"`
}

// start starts all processes and creates the keys.
func (e *example) start(ctx context.Context) error {
	if err := os.RemoveAll(e.data); err != nil { // of an earlier run
		return fmt.Errorf("deleting old data: %w", err)
	}
	if err := os.MkdirAll(e.data, 0o700); err != nil {
		return fmt.Errorf("creating the data directory: %w", err)
	}
	if err := e.configure(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	fmt.Println("Starting three etcd members …")
	if err := e.startAll(e.members...); err != nil {
		return err
	}
	for _, client := range e.clients {
		if err := waitFor(ctx, "etcd at "+client, client+"/health", nil); err != nil {
			return err
		}
	}
	fmt.Println("Starting three gates, a balancer and a stand-in for Mollymawk …")
	if err := e.startAll(append(e.gates, e.standIn, e.balancer)...); err != nil {
		return err
	}
	for i, s := range e.sites {
		if err := waitFor(ctx, e.gates[i].name, s.url()+healthPath, nil); err != nil {
			return err
		}
	}
	if err := e.createKeys(ctx); err != nil {
		return err
	}
	return waitFor(ctx, "the balancer", e.url()+"/api/unikernels",
		http.Header{"Authorization": {"Bearer " + e.api.Secret}})
}

func (e *example) url() string { return fmt.Sprintf("http://localhost:%d", e.port) }

func (e *example) startAll(all ...*process) error {
	for _, p := range all {
		if err := p.start(e.restart); err != nil {
			return err
		}
	}
	return nil
}

// stop ends all processes: first the balancer, and then the gates, which report their last
// usage to etcd.
func (e *example) stop() {
	for _, group := range [][]*process{{e.balancer}, e.gates, append(e.members, e.standIn)} {
		var stopping sync.WaitGroup
		for _, p := range group {
			if p != nil {
				stopping.Go(p.stop)
			}
		}
		stopping.Wait()
	}
}

// configure chooses ports and writes the configurations.
func (e *example) configure() (err error) {
	free := make(ports)
	find := func(purpose string, wanted int) (port int) {
		if err == nil {
			port, err = free.find(purpose, wanted)
		}
		return port
	}
	e.port, e.dashboard = find("the balancer", 8080), find("the dashboard", 8082)
	standIn := fmt.Sprintf("127.0.0.1:%d", find("the stand-in", 8181))
	for i := range gates {
		e.sites = append(e.sites, site{gate: find("a gate", 8091+i), dashboard: find("a gate's dashboard", 8191+i),
			admin: find("an admin endpoint", 2021+i)})
	}
	var initial, peers []string
	for i := range members {
		peers = append(peers, fmt.Sprintf("http://127.0.0.1:%d", find("etcd", 2380+10*i)))
		e.clients = append(e.clients, fmt.Sprintf("http://127.0.0.1:%d", find("etcd", 2379+10*i)))
		initial = append(initial, fmt.Sprintf("member-%d=%s", i+1, peers[i]))
	}
	if err != nil {
		return err
	}
	for i := range members {
		name := fmt.Sprintf("member-%d", i+1)
		e.members = append(e.members, e.process(name, nil, memberProgram, "-name", name, "-data-dir", e.path(name),
			"-client-url", e.clients[i], "-peer-url", peers[i], "-initial-cluster", strings.Join(initial, ","),
			"-initial-cluster-token", "example", "-heartbeat-interval", "100", "-election-timeout", "1000"))
	}
	token := "MOLLYMAWK_TOKEN=" + newUUID()
	e.standIn = e.process("stand-in", []string{token}, standInProgram, "-listen", standIn)
	for i, s := range e.sites {
		gate, err := e.caddy(fmt.Sprintf("gate-%d", i+1), gateCaddyfile(s, e.clients, standIn), token)
		if err != nil {
			return err
		}
		e.gates = append(e.gates, gate)
	}
	e.balancer, err = e.caddy("balancer", balancerCaddyfile(e.port, e.dashboard, e.sites))
	return err
}

func (e *example) path(name ...string) string {
	return filepath.Join(append([]string{e.data}, name...)...)
}

func (e *example) process(name string, env []string, program string, args ...string) *process {
	return &process{name: name, env: env, command: append([]string{filepath.Join(e.dir, program)}, args...),
		log: e.path(name + ".log")}
}

// caddy returns a Caddy with a directory of its own.
func (e *example) caddy(name, caddyfile string, env ...string) (*process, error) {
	if err := os.MkdirAll(e.path(name), 0o700); err != nil {
		return nil, fmt.Errorf("creating %s: %w", name, err)
	}
	config := e.path(name, "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		return nil, fmt.Errorf("configuring %s: %w", name, err)
	}
	env = append(env, "XDG_DATA_HOME="+e.path(name), "XDG_CONFIG_HOME="+e.path(name))
	return e.process(name, env, caddyProgram, "run", "--config", config), nil
}

// newUUID returns a token for the stand-in.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// waitFor waits until a GET request succeeds.
func waitFor(ctx context.Context, name, url string, header http.Header) error {
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", name, err)
		}
		request.Header = header
		problem := "it doesn't answer"
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close() // not read
			if response.StatusCode == http.StatusOK {
				return nil
			}
			problem = "it responds with " + response.Status
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s didn't start: %s", name, problem)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// createKeys creates an API key at one gate and an admin key at another.
func (e *example) createKeys(ctx context.Context) (err error) {
	if e.api, err = createKey(ctx, e.sites[0], map[string]string{"kind": "api", "name": "first API key",
		"preset": "deploy", "expires_in": "90d"}); err != nil {
		return err
	}
	e.admin, err = createKey(ctx, e.sites[1], map[string]string{"kind": "admin", "name": "first admin key",
		"expires_in": "90d"})
	return err
}

func createKey(ctx context.Context, s site, draft map[string]string) (created key, err error) {
	body, err := json.Marshal(draft)
	if err != nil {
		return created, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.address()+"/api_tokens/v1/tokens",
		bytes.NewReader(body))
	if err != nil {
		return created, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return created, fmt.Errorf("creating a key: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return created, fmt.Errorf("creating a key: %w", err)
	}
	if response.StatusCode != http.StatusCreated {
		return created, fmt.Errorf("creating a key: %s: %s", response.Status, text)
	}
	if err := json.Unmarshal(text, &created); err != nil {
		return created, fmt.Errorf("creating a key: %w", err)
	}
	if created.Secret == "" {
		return created, errors.New("creating a key: the response has no secret")
	}
	return created, nil
}
