package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// appName is the app's module ID and the name of its global option.
const appName = "api_tokens"

const (
	defaultMaxLifetime = "2y"
	defaultWarnBefore  = "30d"
	defaultAudit       = "2y"
	defaultHistory     = "400d"
	unlimited          = "unlimited"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the token store of a configuration and its settings. The `bearer_auth`
// handlers check tokens against it; the admin API creates them in it.
type App struct {
	// Where tokens live: a module of the namespace `api_tokens.stores`. Default:
	// `bbolt` with the file `mollygate/tokens.db` in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=api_tokens.stores inline_key=module"`

	// The backend users on whose behalf tokens can act, by name. A token that
	// names none acts for `default`.
	Accounts map[string]*Account `json:"accounts,omitempty"`

	// The longest time a token may live: a number and `h`, `d`, `w`, `mo` or `y`
	// (months and years are calendar steps), or `unlimited`. Default: `2y`.
	MaxLifetime string `json:"max_lifetime,omitempty"`

	// How long before its token expires an answer begins to warn of it. Same form
	// as `max_lifetime`; never before the last quarter of a token's life. Default: `30d`.
	WarnBefore string `json:"warn_before,omitempty"`

	// How long the record of who changed which token is kept. Same form as
	// `max_lifetime`; `unlimited` keeps it permanently. Default: `2y`.
	AuditRetention string `json:"audit_retention,omitempty"`

	// How long the history of each token's use is kept, day by day: from `32d` to `10y`.
	// Same form as `max_lifetime`. Default: `400d`.
	HistoryRetention string `json:"history_retention,omitempty"`

	// The two letters that tokens begin with. The first is given to new tokens,
	// all are accepted. Default: `mm`.
	Prefixes []string `json:"prefixes,omitempty"`

	source     StoreModule
	store      sharedStore
	policy     token.Policy
	warnBefore token.Lifetime
	keepAudit  token.Lifetime
	// keepHistory is in days.
	keepHistory int
	logger      *zap.Logger
	emitter     *eventEmitter
	// stopped says that another configuration has taken over, or that Caddy ends.
	stopped atomic.Bool
	// previous is the app that ran when this one started, or nil.
	previous any
	// spools are the directories of spool_uploads of all gates.
	spools []string

	// The gates of this configuration, which are provisioned after the app.
	gates gates

	// endpoint is the admin API for Caddy's own admin endpoint.
	endpoint func() http.Handler
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appName,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision resolves the settings and looks at the store's file. It locks and
// creates nothing, because `caddy validate` provisions too.
func (a *App) Provision(ctx caddy.Context) error {
	return a.withoutTokens(a.provision(ctx))
}

func (a *App) provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	a.endpoint = sync.OnceValue(func() http.Handler {
		return admin.New(a.adminConfig(endpointActor, endpointPath, endpointLogger()))
	})
	if err := a.provisionPolicy(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Accounts)) {
		if err := checkAccountName(name); err != nil {
			return err
		}
		if a.Accounts[name] == nil {
			a.Accounts[name] = new(Account)
		}
		if err := a.Accounts[name].provision(name, a.logger); err != nil {
			return err
		}
		a.policy.Accounts = append(a.policy.Accounts, name)
	}
	if err := a.provisionStore(ctx); err != nil {
		return err
	}
	if err := a.provisionEvents(ctx); err != nil {
		return err
	}
	return a.register(ctx.GetMetricsRegistry())
}

func (a *App) provisionPolicy() error {
	var err error
	if a.MaxLifetime == "" {
		a.MaxLifetime = defaultMaxLifetime
	}
	if a.MaxLifetime != unlimited {
		if a.policy.MaxLifetime, err = token.ParseLifetime(a.MaxLifetime); err != nil {
			return fmt.Errorf("max_lifetime %s: %w; for no limit write %s", gate.ConfigWord(a.MaxLifetime), err,
				unlimited)
		}
	}
	if a.WarnBefore == "" {
		a.WarnBefore = defaultWarnBefore
	}
	if a.warnBefore, err = token.ParseLifetime(a.WarnBefore); err != nil {
		return fmt.Errorf("warn_before %s: %w", gate.ConfigWord(a.WarnBefore), err)
	}
	if a.AuditRetention == "" {
		a.AuditRetention = defaultAudit
	}
	if a.AuditRetention != unlimited {
		if a.keepAudit, err = token.ParseLifetime(a.AuditRetention); err != nil {
			return fmt.Errorf("audit_retention %s: %w; to keep it without a limit write %s",
				gate.ConfigWord(a.AuditRetention), err, unlimited)
		}
	}
	if a.HistoryRetention == "" {
		a.HistoryRetention = defaultHistory
	}
	if a.keepHistory, err = historyDays(a.HistoryRetention); err != nil {
		return fmt.Errorf("history_retention %s: %w", gate.ConfigWord(a.HistoryRetention), err)
	}
	if len(a.Prefixes) == 0 {
		a.Prefixes = []string{token.DefaultPrefix}
	}
	a.policy.Prefixes = a.Prefixes
	return a.policy.Prefixes.Validate()
}

func (a *App) provisionStore(ctx caddy.Context) error {
	if len(a.StoreRaw) == 0 {
		a.StoreRaw = json.RawMessage(`{"module":"bbolt"}`)
	}
	if err := checkStoreModule(a.StoreRaw); err != nil {
		return err
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading the token store: %w", err)
	}
	a.source = module.(StoreModule)
	return a.store.provision(a.source, a.logger)
}

// historyDays returns the days of history_retention. A month has 30 days and a year 366.
func historyDays(text string) (int, error) {
	lifetime, err := token.ParseLifetime(text)
	if err != nil {
		return 0, err
	}
	days := lifetime.Days()
	if days < tokenstore.MinHistory || days > tokenstore.MaxHistory {
		return 0, fmt.Errorf("must be from %dd, which the quota of a month needs, to 10y", tokenstore.MinHistory)
	}
	return days, nil
}

// Start opens the store, unless this process has it open already.
func (a *App) Start() error {
	a.previous = runningApp()
	if err := a.store.open(a.source); err != nil {
		return a.withoutTokens(err)
	}
	for _, dir := range a.spools {
		removeSpools(dir)
	}
	a.store.opened.Load().KeepAudit(a.keepAudit)
	a.store.opened.Load().KeepHistory(a.keepHistory)
	a.startEvents()
	return nil
}

// runningApp returns the app of the configuration that runs, or nil.
func runningApp() any {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		return nil
	}
	return app
}

// replaced reports whether another configuration has taken this one's place. One that is
// just starting hasn't been, and Caddy's own end replaces none.
func (a *App) replaced() bool {
	if caddy.Exiting() || caddy.ActiveContext().Context == nil {
		return false
	}
	running := runningApp()
	return running != any(a) && (a.stopped.Load() || running != a.previous)
}

// Stop leaves the store open: requests may still be under way. See [App.Cleanup].
func (a *App) Stop() error {
	a.stopped.Store(true)
	return nil
}

// Cleanup gives the store back. The last configuration that uses it closes it.
func (a *App) Cleanup() error {
	err := a.store.release() // the last events are still this configuration's
	a.stopEvents()
	return err
}

// Store returns the open store. While Caddy starts, it waits for the store to be
// opened, at most [storeWait].
func (a *App) Store(ctx context.Context) (*tokenstore.Store, error) {
	return a.store.get(ctx)
}

// account returns the configured account of this name, or nil. A request that outlives
// its configuration gets the account of the one that runs now: the old one may name an
// account, or an upstream token, that was taken away.
func (a *App) account(name string) *Account {
	if a.stopped.Load() && !caddy.Exiting() {
		running, ok := runningApp().(*App)
		if !ok {
			return nil
		}
		a = running
	}
	return a.Accounts[name]
}

// redactor returns what takes tokens out of logs.
func (a *App) redactor() redactor { return redactor{a.policy.Prefixes} }

// adminConfig returns what the admin API is made of for a mount, which says who
// may call and how a client spells a path. Called after all gates have been
// provisioned, it knows their routes.
func (a *App) adminConfig(
	authenticate func(*http.Request) (tokenstore.Actor, *admin.Refusal),
	clientPath func(*http.Request) string,
	logger *zap.Logger,
) admin.Config {
	policy := a.policy
	policy.Catalog = a.gates.catalog()
	policy.MaxScopes, _ = a.maxScopes() // without gates nothing can be granted at all
	return admin.Config{
		Store:           a.Store,
		Policy:          policy,
		WarnBefore:      a.warnBefore,
		Gates:           a.gates.named(),
		IsUpstreamToken: a.isUpstreamToken,
		Authenticate:    authenticate,
		ClientPath:      clientPath,
		Logger:          logger,
	}
}

// isUpstreamToken reports whether a digest is of an upstream token of any account.
func (a *App) isUpstreamToken(digest token.Digest) bool {
	for _, account := range a.Accounts {
		if account.presents(digest) {
			return true
		}
	}
	return false
}

// maxScopes returns what the accounts give at most, or says what in it isn't known.
func (a *App) maxScopes() (map[string]token.Grants, error) {
	most := make(map[string]token.Grants)
	catalog := a.gates.catalog()
	var unknown error
	for _, name := range slices.Sorted(maps.Keys(a.Accounts)) {
		texts := a.Accounts[name].MaxScopes
		if len(texts) == 0 {
			continue
		}
		for _, text := range texts {
			if _, err := catalog.Expand([]string{text}); err != nil {
				unknown = errors.Join(unknown, fmt.Errorf("%s: max_scopes: %s is not a scope here; known are %s",
					accountLabel(name), gate.ConfigWord(text), catalog.Known()))
			}
		}
		most[name], _ = catalog.Expand(texts)
	}
	return most, unknown
}

// Interface guards
var (
	_ caddy.Module       = (*App)(nil)
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
