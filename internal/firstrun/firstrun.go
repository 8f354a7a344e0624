// Package firstrun starts a gate that new users can try out.
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

// The stand-in's unikernel writes a line to its console every second.
const (
	demoUser      = "alice"
	demoInstance  = "default"
	demoUnikernel = "hello"
)

// Run starts the gate with the Caddyfile at config, creates the first keys, writes
// instructions to out, and serves until a signal stops the process. Run returns only if the
// gate fails to start. Run stores data in dir, which it creates if necessary.
func Run(config, dir string, out io.Writer) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return fmt.Errorf(
			"reading the configuration: %w; run this command in the directory that contains Caddyfile.example", err)
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
		return fmt.Errorf("starting the gate: %w", err)
	}
	keys, err := createKeys()
	if err != nil {
		return fmt.Errorf("creating the first keys: %w", err)
	}
	writeInstructions(out, backend, dir, keys)
	select {} // Caddy's signal handler ends the process
}

// prepare makes Caddy store its data and log in dir.
func prepare(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("locating the data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating the data directory: %w", err)
	}
	// Caddy reads most environment variables before main starts, so set the corresponding
	// Go variables directly. XDG_DATA_HOME is read again later to find the token store's
	// default path.
	caddy.DefaultStorage.Path = filepath.Join(dir, "caddy")
	caddy.ConfigAutosavePath = filepath.Join(dir, "autosave.json")
	if err := os.Setenv("XDG_DATA_HOME", dir); err != nil {
		return err
	}
	log, err := os.OpenFile(logFile(dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	os.Stderr = log // keeps the log from hiding Run's output
	return nil
}

func logFile(dir string) string { return filepath.Join(dir, "caddy.log") }

// chooseBackend starts a stand-in unless environment variables specify a Mollymawk server.
// It returns a description of the backend.
func chooseBackend() (string, error) {
	if url := os.Getenv(urlVariable); url != "" {
		if os.Getenv(tokenVariable) == "" {
			return "", fmt.Errorf(
				"%[1]s is set but %[2]s isn't: set %[2]s to one of Mollymawk's own tokens, listed on its /tokens page",
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

// keys holds the secrets of the first admin key and the first API key. Both secrets are
// empty if the store already contained keys.
type keys struct{ admin, api string }

// createKeys creates the first keys through the admin API.
func createKeys() (keys, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	api, err := client.New(http.DefaultClient, "http://"+variable(adminVariable, defaultAdmin)+"/api_tokens/v1")
	if err != nil {
		return keys{}, err
	}
	page, err := api.List(ctx, client.ListQuery{Limit: 1})
	if err != nil || len(page.Tokens) > 0 {
		return keys{}, err
	}
	adminKey, err := api.Create(ctx, client.CreateRequest{Name: "first admin key", Kind: "admin", ExpiresIn: "90d"})
	if err != nil {
		return keys{}, err
	}
	apiKey, err := api.Create(ctx, client.CreateRequest{Name: "first API key", Preset: "full", ExpiresIn: "90d"})
	if err != nil {
		return keys{}, err
	}
	return keys{admin: adminKey.Secret.Reveal(), api: apiKey.Secret.Reveal()}, nil
}

// variable returns the value of an environment variable, or fallback if the value is empty.
func variable(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// writeInstructions tells the user what to do next.
func writeInstructions(out io.Writer, backend, dir string, first keys) {
	port := variable(portVariable, defaultPort)
	gate, admin := "http://localhost:"+port, "http://keys.localhost:"+port
	commandLine := "go run ./cmd/mollygate api-token"
	address := "" // adminVariable might not be set in the user's terminal
	if endpoint := variable(adminVariable, defaultAdmin); endpoint != defaultAdmin {
		address = " --address " + endpoint
	}
	write := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	write("")
	write("The gate is running at %s, in front of %s.", gate, backend)
	write("")
	if first.api == "" {
		write("%s already contains keys, whose secrets can't be shown again. To create another key:", dir)
		write("")
		write("  %s create --name another --preset full --expires-in 90d%s", commandLine, address)
	} else {
		write("First admin key    %s", first.admin)
		write("First API key      %s", first.api)
		write("")
		write("Save them now: they won't be shown again. They expire in 90 days. Call the backend through the gate:")
		write("")
		write("  curl -H 'Authorization: Bearer %s' %s/api/unikernels", first.api, gate)
		write("")
		write("Manage keys from anywhere with the admin key, or on this machine with the command line:")
		write("")
		write("  curl -H 'Authorization: Bearer %s' %s/api/v1/tokens", first.admin, admin)
		write("  %s list%s", commandLine, address)
	}
	write("")
	write("Dashboard          %s/   (sign in with the admin key)", admin)
	write("Admin API          %s/api/v1/", admin)
	write("Log                %s", logFile(dir))
	write("Press Ctrl-C to stop.")
	write("")
}
