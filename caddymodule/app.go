package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
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

// App holds a configuration's token store and token settings. `bearer_auth` handlers check
// tokens against the store, and the admin API creates tokens in it.
type App struct {
	// The token store: a module in the `api_tokens.stores` namespace. Default: `bbolt` with
	// the file `mollygate/tokens.db` in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=api_tokens.stores inline_key=module"`

	// The backend users on whose behalf tokens can act, by name. A token without an account
	// acts for `default`.
	Accounts map[string]*Account `json:"accounts,omitempty"`

	// The maximum lifetime of a token: a number followed by `h`, `d`, `w`, `mo` or `y` (months
	// and years are calendar steps), or `unlimited`. Default: `2y`.
	MaxLifetime string `json:"max_lifetime,omitempty"`

	// The period before a token expires in which responses carry a warning, in the same format
	// as `max_lifetime`. The warning never starts before the last quarter of the token's
	// lifetime. Default: `30d`.
	WarnBefore string `json:"warn_before,omitempty"`

	// How long audit log entries are kept, in the same format as `max_lifetime`; `unlimited`
	// keeps them permanently. Default: `2y`.
	AuditRetention string `json:"audit_retention,omitempty"`

	// How long each token's daily usage history is kept, from `32d` to `10y`, in the same
	// format as `max_lifetime`. Default: `400d`.
	HistoryRetention string `json:"history_retention,omitempty"`

	// The two-letter token prefixes. New tokens use the first prefix; tokens with any of these
	// prefixes are accepted. Default: `mm`.
	Prefixes []string `json:"prefixes,omitempty"`

	source     StoreModule
	store      sharedStore
	policy     token.Policy
	warnBefore token.Lifetime
	keepAudit  token.Lifetime
	// keepHistory is history_retention in days.
	keepHistory int
	logger      *zap.Logger
	emitter     *eventEmitter
	// stopped is set once another configuration has taken over or Caddy is exiting.
	stopped atomic.Bool
	// previous is the app that was running when this one started, or nil.
	previous any
	// spools are the spool_uploads directories of all gates.
	spools []string

	// gates are this configuration's gates. Caddy provisions them after the app.
	gates gates

	// endpoint returns the admin API served on Caddy's own admin endpoint.
	endpoint func() http.Handler
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appName,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision resolves the settings and inspects the store's file. It doesn't lock or create any
// files, because `caddy validate` provisions modules too.
func (a *App) Provision(ctx caddy.Context) error {
	return a.redactConfigError(a.provision(ctx))
}

func (a *App) provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	a.endpoint = sync.OnceValue(func() http.Handler {
		config := a.adminConfig(endpointActor, endpointPath, endpointLogger())
		config.OperatorSessions = a.sessions
		return admin.New(config)
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
			return fmt.Errorf("max_lifetime %s: %w; write %s for no limit", gate.ConfigWord(a.MaxLifetime), err,
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
			return fmt.Errorf("audit_retention %s: %w; write %s to keep entries permanently",
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
		return fmt.Errorf("loading the token store module: %w", err)
	}
	a.source = module.(StoreModule)
	return a.store.provision(a.source, a.logger)
}

// historyDays returns history_retention in days. A month counts as 30 days, a year as 366.
func historyDays(text string) (int, error) {
	lifetime, err := token.ParseLifetime(text)
	if err != nil {
		return 0, err
	}
	days := lifetime.Days()
	if days < tokenstore.MinHistory || days > tokenstore.MaxHistory {
		return 0, fmt.Errorf("must be between %dd, the minimum for monthly quotas, and 10y", tokenstore.MinHistory)
	}
	return days, nil
}

// Start opens the store unless this process already has it open.
func (a *App) Start() error {
	a.previous = runningApp()
	if err := a.store.open(a.source); err != nil {
		return a.redactConfigError(err)
	}
	for _, dir := range a.spools {
		removeSpools(dir)
	}
	a.store.opened.Load().KeepAudit(a.keepAudit)
	a.store.opened.Load().KeepHistory(a.keepHistory)
	a.startEvents()
	return nil
}

// runningApp returns the running configuration's app, or nil.
func runningApp() any {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		return nil
	}
	return app
}

// replaced reports whether another configuration has replaced this one. It returns false while
// the configuration is still starting and when Caddy itself is exiting.
func (a *App) replaced() bool {
	if caddy.Exiting() || caddy.ActiveContext().Context == nil {
		return false
	}
	running := runningApp()
	return running != any(a) && (a.stopped.Load() || running != a.previous)
}

// Stop leaves the store open because requests may still be in flight. See [App.Cleanup].
func (a *App) Stop() error {
	a.stopped.Store(true)
	return nil
}

// Cleanup releases the store. The store closes when the last configuration that uses it is
// cleaned up.
func (a *App) Cleanup() error {
	err := a.store.release() // may emit events that this configuration still handles
	a.stopEvents()
	return err
}

// Store returns the open store. While Caddy is starting, Store waits up to [storeWait] for the
// store to open.
func (a *App) Store(ctx context.Context) (*tokenstore.Store, error) {
	return a.store.get(ctx)
}

// sessions returns the sessions of all dashboards. Call it only if the store is open.
func (a *App) sessions() *admin.Sessions { return &a.store.current().sessions }

// account returns the configured account with this name, or nil. For a request that outlives
// its configuration, it returns the running configuration's account, because the account or
// its upstream token may have been removed since.
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

// resourceNames returns the resources that an account has in the backends.
func (a *App) resourceNames(ctx context.Context, name string) ([]string, error) {
	account := a.account(name)
	if account == nil {
		return nil, errors.New("the account isn't configured")
	}
	return a.gates.resourceNames(ctx, account)
}

// redactor returns a redactor that removes tokens from logs.
func (a *App) redactor() redactor { return redactor{a.policy.Prefixes} }

// adminConfig returns the admin API's configuration for one mount point. The mount point
// provides one function that authenticates callers and another that returns the path as the
// client sent it. Call adminConfig only after all gates have been provisioned, because it
// needs their routes.
func (a *App) adminConfig(
	authenticate func(*http.Request) (tokenstore.Actor, *admin.Refusal),
	clientPath func(*http.Request) string,
	logger *zap.Logger,
) admin.Config {
	policy := a.policy
	policy.Catalog = a.gates.catalog()
	// Without gates, no scopes can be granted.
	policy.MaxScopes, _ = a.maxScopes()
	policy.MaxResources, _ = a.maxResources()
	return admin.Config{
		Store:           a.Store,
		Policy:          policy,
		WarnBefore:      a.warnBefore,
		Gates:           a.gates.named(),
		BackendFailures: a.gates.backendFailures,
		ResourceNames:   a.resourceNames,
		Settings: admin.Settings{Version: Version(), AuditRetention: a.AuditRetention,
			HistoryRetention: a.HistoryRetention, Dashboards: runningDashboards},
		Stopping:        func() bool { return caddy.Exiting() || a.stopped.Load() },
		IsUpstreamToken: a.isUpstreamToken,
		Authenticate:    authenticate,
		ClientPath:      clientPath,
		Logger:          logger,
	}
}

// modulePath is the path of Mollygate's Go module.
const modulePath = "github.com/mollygate/mollygate"

// Version returns Mollygate's version, or "" if it isn't known.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range append(info.Deps, &info.Main) {
		if module.Path == modulePath {
			return module.Version
		}
	}
	return ""
}

// isUpstreamToken reports whether digest is the digest of any account's upstream token.
func (a *App) isUpstreamToken(digest token.Digest) bool {
	for _, account := range a.Accounts {
		if account.presents(digest) {
			return true
		}
	}
	return false
}

// maxScopes returns the max_scopes of every account that sets it, and an error that names any
// unknown scopes.
func (a *App) maxScopes() (map[string]token.Grants, error) {
	limits := make(map[string]token.Grants)
	catalog := a.gates.catalog()
	var unknown error
	for _, name := range slices.Sorted(maps.Keys(a.Accounts)) {
		texts := a.Accounts[name].MaxScopes
		if len(texts) == 0 {
			continue
		}
		for _, text := range texts {
			if _, err := catalog.Expand([]string{text}); err != nil {
				unknown = errors.Join(unknown, fmt.Errorf(
					"%s: max_scopes: %s is not a known scope; the known scopes are %s",
					accountLabel(name), gate.ConfigWord(text), catalog.Known()))
			}
		}
		limits[name], _ = catalog.Expand(texts)
	}
	return limits, unknown
}

// maxResources returns the max_resources of every account that sets it, and an error that names
// any invalid resources.
func (a *App) maxResources() (map[string]token.Resources, error) {
	limits := make(map[string]token.Resources)
	catalog := a.gates.catalog()
	var invalid error
	for _, name := range slices.Sorted(maps.Keys(a.Accounts)) {
		patterns := a.Accounts[name].MaxResources
		if len(patterns) == 0 {
			continue
		}
		var err error
		if limits[name], err = catalog.CheckResources(patterns); err != nil {
			invalid = errors.Join(invalid, fmt.Errorf("%s: max_resources: %w", accountLabel(name), err))
		}
	}
	return limits, invalid
}

// Interface guards.
var (
	_ caddy.Module       = (*App)(nil)
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
