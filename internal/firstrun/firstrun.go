// Package firstrun runs the gate for somebody who sees it for the first time.
package firstrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// Environment variables that Caddyfile.example reads.
const (
	urlVariable   = "MOLLYMAWK_URL"
	tokenVariable = "MOLLYMAWK_TOKEN"
	portVariable  = "MOLLYGATE_PORT"
	adminVariable = "CADDY_ADMIN"

	defaultPort  = "8080"
	defaultAdmin = "localhost:2019"
)

// What the stand-in has: a unikernel that says something each second.
const (
	demoUser      = "alice"
	demoInstance  = "default"
	demoUnikernel = "hello"
)

// Run starts the gate, makes the first tokens, writes to out what can be done
// with them, and serves until the process is told to stop. It returns only if it
// can't start. config is a Caddyfile, dir is made if it doesn't exist.
func Run(config, dir string, out io.Writer) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w; run this in the directory of Caddyfile.example", err)
	}
	if err := prepare(dir); err != nil {
		return err
	}
	backend, err := chooseBackend()
	if err != nil {
		return err
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": config})
	if err != nil {
		return err
	}
	caddy.TrapSignals()
	if err := caddy.Load(adapted, true); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	tokens, err := mint()
	if err != nil {
		return fmt.Errorf("making the first tokens: %w", err)
	}
	introduce(out, backend, dir, tokens)
	select {} // Caddy's signal handler ends the process
}

// prepare makes dir the home of what Caddy keeps.
func prepare(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	// Caddy has read its environment already when main begins, all but for the
	// default path of the token store.
	caddy.DefaultStorage.Path = filepath.Join(dir, "caddy")
	caddy.ConfigAutosavePath = filepath.Join(dir, "autosave.json")
	if err := os.Setenv("XDG_DATA_HOME", dir); err != nil {
		return err
	}
	log, err := os.OpenFile(logFile(dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	os.Stderr = log // so that it doesn't bury what Run writes
	return nil
}

func logFile(dir string) string { return filepath.Join(dir, "caddy.log") }

// chooseBackend starts a stand-in, unless the environment names a Mollymawk, and
// returns what to call it.
func chooseBackend() (string, error) {
	if url := os.Getenv(urlVariable); url != "" {
		if os.Getenv(tokenVariable) == "" {
			return "",
				fmt.Errorf(
					"%s is set but %s isn't: set it to a token of Mollymawk's own, which it shows on its page /tokens",
					urlVariable, tokenVariable)
		}
		return "the Mollymawk at " + url, nil
	}
	server, err := mollymawktest.Listen(mollymawktest.Options{RawLimit: -1})
	if err != nil {
		return "", fmt.Errorf("starting a stand-in Mollymawk: %w", err)
	}
	server.AddUnikernel(demoUser, demoInstance, demoUnikernel)
	go func() {
		for range time.Tick(time.Second) {
			server.Emit(demoUser, demoInstance, demoUnikernel, "hello, it is "+time.Now().Format(time.TimeOnly))
		}
	}()
	token := server.AddToken(demoUser, "gate", 365*24*time.Hour)
	return "a stand-in Mollymawk", errors.Join(os.Setenv(urlVariable, server.URL()), os.Setenv(tokenVariable, token))
}

// tokens are the first ones; empty if there were some already.
type tokens struct{ admin, api string }

// mint makes the first tokens, by the admin API as anybody would.
func mint() (tokens, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	api, err := client.New(http.DefaultClient, "http://"+variable(adminVariable, defaultAdmin)+"/api_tokens/v1")
	if err != nil {
		return tokens{}, err
	}
	page, err := api.List(ctx, client.ListQuery{Limit: 1})
	if err != nil || len(page.Tokens) > 0 {
		return tokens{}, err
	}
	adminToken, err := api.Create(ctx, client.CreateRequest{Name: "first admin token", Kind: "admin", ExpiresIn: "90d"})
	if err != nil {
		return tokens{}, err
	}
	apiToken, err := api.Create(ctx, client.CreateRequest{Name: "first API token", Preset: "full", ExpiresIn: "90d"})
	if err != nil {
		return tokens{}, err
	}
	return tokens{admin: adminToken.Secret.Reveal(), api: apiToken.Secret.Reveal()}, nil
}

func variable(name, unset string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return unset
}

// introduce writes what can be done now.
func introduce(out io.Writer, backend, dir string, first tokens) {
	port := variable(portVariable, defaultPort)
	gate, admin := "http://localhost:"+port, "http://keys.localhost:"+port
	commandLine := "go run ./cmd/mollygate api-token"
	address := "" // for a terminal in which the variable isn't set
	if endpoint := variable(adminVariable, defaultAdmin); endpoint != defaultAdmin {
		address = " --address " + endpoint
	}
	write := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	write("")
	write("The gate is open at %s, in front of %s.", gate, backend)
	write("")
	if first.api == "" {
		write("There are tokens already, in %s. Their secrets were shown once; make another:", dir)
		write("")
		write("  %s create --name another --preset full --expires-in 90d%s", commandLine, address)
	} else {
		write("First admin token  %s", first.admin)
		write("First API token    %s", first.api)
		write("")
		write("They are shown this once, and are valid for 90 days. Call the backend through the gate:")
		write("")
		write("  curl -H 'Authorization: Bearer %s' %s/api/unikernels", first.api, gate)
		write("")
		write("Manage tokens from anywhere, with the admin token, or on this machine, with the command line:")
		write("")
		write("  curl -H 'Authorization: Bearer %s' %s/api/v1/tokens", first.admin, admin)
		write("  %s list%s", commandLine, address)
	}
	write("")
	write("Dashboard          %s/   (sign in with the admin token)", admin)
	write("Admin API          %s/api/v1/", admin)
	write("Log                %s", logFile(dir))
	write("Stop with Ctrl-C.")
	write("")
}
