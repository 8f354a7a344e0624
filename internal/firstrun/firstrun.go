// Package firstrun starts a gate that new users can try out.
package firstrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/internal/demo"
	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// Environment variables that Caddyfile.example reads.
const (
	urlVariable       = "MOLLYMAWK_URL"
	tokenVariable     = "MOLLYMAWK_TOKEN"
	portVariable      = "MOLLYGATE_PORT"
	dashboardVariable = "MOLLYGATE_DASHBOARD_PORT"
	adminVariable     = "CADDY_ADMIN"
)

// Default directories for data, without and with [Options].Demo.
const (
	DefaultDir = ".mollygate"
	DemoDir    = ".mollygate-demo"
)

// The stand-in's unikernel writes a line to its console every second.
const (
	demoUser      = "alice"
	demoInstance  = "default"
	demoUnikernel = "hello"
)

// Options are the options of [Run].
type Options struct {
	// Config is the Caddyfile to run.
	Config string
	// Dir is the directory for data. Run creates it if necessary. Empty means [DefaultDir] or
	// [DemoDir].
	Dir string
	// Demo fills an empty store with keys and an invented history.
	Demo bool
	// Out is where Run writes instructions.
	Out io.Writer
}

// run is a gate that is being started.
type run struct {
	Options
	screen  screen
	ports   ports
	backend backend
}

// backend is the server behind the gate.
type backend struct {
	// name describes the backend.
	name string
	// standIn is set if the backend has no real unikernels.
	standIn bool
}

// Run starts the gate, creates the first API key, sends some requests through the gate, writes
// instructions, and serves until a signal stops the process. Run returns only if the gate
// fails to start.
func Run(options Options) error {
	r := &run{Options: options, screen: newScreen(options.Out)}
	if r.Dir == "" {
		r.Dir = DefaultDir
		if r.Demo {
			r.Dir = DemoDir
		}
	}
	text, err := os.ReadFile(r.Config)
	if err != nil {
		return fmt.Errorf(
			"reading the configuration: %w; run this command in the directory that contains Caddyfile.example", err)
	}
	if err := r.locate(); err != nil {
		return err
	}
	if err := r.alone(); err != nil {
		return err
	}
	// Caddy shares its ports with other processes of the same user, so it wouldn't notice that
	// a port is taken.
	if r.ports, err = findPorts(r.screen.note); err != nil {
		return err
	}
	if err := r.prepare(); err != nil {
		return err
	}
	if r.backend, err = r.chooseBackend(); err != nil {
		return err
	}
	first, err := r.fill()
	if err != nil {
		return err
	}
	if err := r.start(text); err != nil {
		return err
	}
	return r.welcome(first)
}

// start starts Caddy.
func (r *run) start(caddyfile []byte) error {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(caddyfile, map[string]any{"filename": r.Config})
	if err != nil {
		return err
	}
	if r.Demo {
		if config, err = addAccounts(config); err != nil {
			return err
		}
	}
	caddy.OnExit(func(context.Context) { r.goodbye() })
	caddy.TrapSignals()
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting the gate: %w", err)
	}
	return nil
}

// addAccounts adds the accounts of the demo's keys to a configuration. They use the default
// account's credential.
func addAccounts(config []byte) ([]byte, error) {
	var parsed map[string]any
	if err := json.Unmarshal(config, &parsed); err != nil {
		return nil, err
	}
	apps, _ := parsed["apps"].(map[string]any)
	app, _ := apps["api_tokens"].(map[string]any)
	accounts, _ := app["accounts"].(map[string]any)
	if accounts["default"] == nil {
		return nil, errors.New("-demo needs an account named default in the configuration")
	}
	for _, name := range demo.Accounts {
		if accounts[name] == nil {
			accounts[name] = accounts["default"]
		}
	}
	return json.Marshal(parsed)
}

// welcome creates the first key if there is none, sends some requests, writes instructions, and
// waits until a signal ends the process.
func (r *run) welcome(first key) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	api, err := newAPI()
	if err != nil {
		return err
	}
	found, err := count(ctx, api)
	if err != nil {
		return fmt.Errorf("reading the list of keys: %w", err)
	}
	if found.keys == 0 {
		if first, err = createKey(ctx, api); err != nil {
			return fmt.Errorf("creating the first key: %w", err)
		}
	}
	var problem string
	if first.secret != "" {
		problem = r.sendRequests(ctx, first)
	}
	link, err := api.CreateSignInLink(ctx)
	if err != nil {
		return fmt.Errorf("creating the sign-in link: %w", err)
	}
	r.instructions(instructions{key: first, keys: found, problem: problem,
		link: link.URL(r.ports.dashboardURL() + "/")})
	select {} // Caddy's signal handler ends the process
}

// locate makes Caddy store its data in the directory.
func (r *run) locate() error {
	dir, err := filepath.Abs(r.Dir)
	if err != nil {
		return fmt.Errorf("locating the data directory: %w", err)
	}
	// Caddy reads most environment variables before main starts, so set the corresponding
	// Go variables directly. XDG_DATA_HOME is read again later to find the token store's
	// default path.
	caddy.DefaultStorage.Path = filepath.Join(dir, "caddy")
	caddy.ConfigAutosavePath = filepath.Join(dir, "autosave.json")
	return os.Setenv("XDG_DATA_HOME", dir)
}

// alone returns an error if another process uses the directory's store.
func (r *run) alone() error {
	path := caddymodule.DefaultStorePath()
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	store, err := bolt.Open(path)
	if locked, ok := errors.AsType[*bolt.LockedError](err); ok {
		holder := "another process"
		if locked.PID != 0 {
			holder = fmt.Sprintf("process %d", locked.PID)
		}
		return runningError{holder: holder, dir: r.Dir}
	}
	if err != nil {
		return err
	}
	return store.Close()
}

// runningError is the error for a directory that another process uses.
type runningError struct{ holder, dir string }

func (e runningError) Error() string {
	return fmt.Sprintf(`%[1]s already runs a gate with the keys in %[2]s.
Use that gate, end it (with Ctrl-C in its terminal, or by its process number),
or choose another directory with -dir.

To get a link to its dashboard and to create another API key:
  %[3]s open
  MOLLYGATE_KEY=$(%[3]s create --name another \
    --preset deploy --expires-in 90d)

If its admin address isn't localhost:%[4]d, its terminal shows these commands
with the --address that they need.`, e.holder, e.dir, commandLine, defaultAdmin)
}

// prepare creates the directory and redirects the log to a file in it.
func (r *run) prepare() error {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return fmt.Errorf("creating the data directory: %w", err)
	}
	log, err := os.OpenFile(r.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	os.Stderr = log // keeps the log from hiding Run's output
	return nil
}

func (r *run) logFile() string { return filepath.Join(r.Dir, "caddy.log") }

// chooseBackend starts a stand-in unless environment variables specify a Mollymawk server.
func (r *run) chooseBackend() (backend, error) {
	if url := os.Getenv(urlVariable); url != "" {
		if r.Demo {
			return backend{}, fmt.Errorf("-demo works only with the stand-in for Mollymawk: unset %s", urlVariable)
		}
		if os.Getenv(tokenVariable) == "" {
			return backend{}, fmt.Errorf(
				"%[1]s is set but %[2]s isn't: set %[2]s to one of Mollymawk's own tokens, listed on its /tokens page",
				urlVariable, tokenVariable)
		}
		return backend{name: "the Mollymawk at " + url}, nil
	}
	server, err := mollymawktest.Listen(mollymawktest.Options{RawLimit: -1})
	if err != nil {
		return backend{}, fmt.Errorf("starting a stand-in Mollymawk: %w", err)
	}
	server.AddUnikernel(demoUser, demoInstance, demoUnikernel)
	go func() {
		for range time.Tick(time.Second) {
			server.Emit(demoUser, demoInstance, demoUnikernel, "hello, it is "+time.Now().Format(time.TimeOnly))
		}
	}()
	token := server.AddToken(demoUser, "gate", 365*24*time.Hour)
	return backend{name: "a stand-in for Mollymawk", standIn: true},
		errors.Join(os.Setenv(urlVariable, server.URL()), os.Setenv(tokenVariable, token))
}
