package caddymodule

import (
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(appName, parseApp)
}

// parseApp sets up the api_tokens app from the global option. Syntax:
//
//	api_tokens {
//		store        <module> [<args...>]
//		account      <name> {
//			upstream_token <token>
//			max_scopes     <scope|preset...>
//			max_resources  <type/name...>
//		}
//		max_lifetime <lifetime>|unlimited
//		warn_before  <lifetime>
//		audit_retention <lifetime>|unlimited
//		history_retention <lifetime>
//		prefix       <letters...>
//	}
//
// account can be repeated. Caddy resolves placeholders in upstream tokens and paths when it
// loads the configuration, not when it adapts the Caddyfile.
func parseApp(d *caddyfile.Dispenser, previous any) (any, error) {
	d.Next() // the option's name
	if previous != nil {
		return nil, d.Err("api_tokens is specified twice; put all its options in one block")
	}
	if d.NextArg() {
		return nil, d.Errf("api_tokens takes a block, not an argument such as %s", gate.ConfigWord(d.Val()))
	}
	app := new(App)
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		option := d.Val()
		if option != "account" {
			if seen[option] {
				return nil, d.Errf("%s is specified twice", option)
			}
			seen[option] = true
		}
		if err := app.parseOption(d, option); err != nil {
			return nil, err
		}
	}
	return httpcaddyfile.App{Name: appName, Value: caddyconfig.JSON(app, nil)}, nil
}

func (a *App) parseOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "store":
		return a.parseStore(d)
	case "account":
		return a.parseAccount(d)
	case "max_lifetime":
		if !d.AllArgs(&a.MaxLifetime) {
			return oneWord(d, option)
		}
		if a.MaxLifetime != unlimited {
			return checkLifetime(d, option, a.MaxLifetime)
		}
	case "warn_before":
		if !d.AllArgs(&a.WarnBefore) {
			return oneWord(d, option)
		}
		return checkLifetime(d, option, a.WarnBefore)
	case "audit_retention":
		if !d.AllArgs(&a.AuditRetention) {
			return oneWord(d, option)
		}
		if a.AuditRetention != unlimited {
			return checkLifetime(d, option, a.AuditRetention)
		}
	case "history_retention":
		if !d.AllArgs(&a.HistoryRetention) {
			return oneWord(d, option)
		}
		if _, err := historyDays(a.HistoryRetention); err != nil {
			return d.Errf("%s %s: %v", option, gate.ConfigWord(a.HistoryRetention), err)
		}
	case "prefix":
		a.Prefixes = d.RemainingArgs()
		if err := token.Prefixes(a.Prefixes).Validate(); err != nil {
			return d.WrapErr(err)
		}
	default:
		return d.Errf("unknown option %s; the options of api_tokens are account, audit_retention, "+
			"history_retention, max_lifetime, prefix, store and warn_before", gate.ConfigWord(option))
	}
	return nil
}

// oneWord returns the error for an option that needs exactly one value. It replaces Caddy's
// own error, which quotes the last value.
func oneWord(d *caddyfile.Dispenser, option string) error {
	return d.Errf("%s: must have exactly one value", option)
}

func checkLifetime(d *caddyfile.Dispenser, option, text string) error {
	if _, err := token.ParseLifetime(text); err != nil {
		return d.Errf("%s %s: %v", option, gate.ConfigWord(text), err)
	}
	return nil
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("store: name a store module, for example: store bbolt /var/lib/caddy/tokens.db")
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, storeNamespace+name)
	if err != nil {
		if strings.Contains(err.Error(), "not registered") {
			return d.WrapErr(errUnknownStore(name))
		}
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

// grantOrPreset matches "*", "resource:action", "resource:*" and preset names.
var grantOrPreset = regexp.MustCompile(`^(\*|[a-z0-9._-]+(:(\*|[a-z0-9._-]+))?)$`)

func (a *App) parseAccount(d *caddyfile.Dispenser) error {
	var name string
	if !d.AllArgs(&name) {
		return d.Err("account: must have exactly one name, for example: account default { ... }")
	}
	if err := checkAccountName(name); err != nil {
		return d.WrapErr(err)
	}
	if _, twice := a.Accounts[name]; twice {
		return d.Errf("%s is specified twice", accountLabel(name))
	}
	account := new(Account)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "upstream_token":
			if account.UpstreamToken != "" {
				return d.Err("upstream_token is specified twice")
			}
			if !d.AllArgs(&account.UpstreamToken) {
				return d.Err("upstream_token: must have exactly one value, for example {env.UPSTREAM_TOKEN} " +
					"or {file./run/secrets/alice}")
			}
			if account.UpstreamToken == "" {
				return d.Errf("upstream_token of %s is empty; omit the line if the backend needs no token",
					accountLabel(name))
			}
		case "max_scopes":
			if account.MaxScopes != nil {
				return d.Err("max_scopes is specified twice; put all scopes on one line")
			}
			if account.MaxScopes = d.RemainingArgs(); len(account.MaxScopes) == 0 {
				return d.Err("max_scopes: name scopes or presets, for example: max_scopes read unikernel:restart")
			}
			for _, text := range account.MaxScopes {
				if !grantOrPreset.MatchString(text) {
					return d.Errf(
						"max_scopes %s: write scopes such as unikernel:list, unikernel:* or *, or preset names",
						gate.ConfigWord(text))
				}
			}
		case "max_resources":
			if account.MaxResources != nil {
				return d.Err("max_resources is specified twice; put all resources on one line")
			}
			if account.MaxResources = d.RemainingArgs(); len(account.MaxResources) == 0 {
				return d.Err("max_resources: name resources, for example: " +
					"max_resources instance/default unikernel/web-*")
			}
		default:
			return d.Errf("unknown option %s; the options of account are max_resources, max_scopes and upstream_token",
				gate.ConfigWord(d.Val()))
		}
	}
	if a.Accounts == nil {
		a.Accounts = make(map[string]*Account)
	}
	a.Accounts[name] = account
	return nil
}
