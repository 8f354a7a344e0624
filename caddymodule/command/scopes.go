package command

import (
	"encoding/json"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var scopesVerb = verb{
	command: cobra.Command{
		Use:        "scopes",
		SuggestFor: []string{"presets", "scope", "preset"},
		Short:      "Lists the scopes and presets that API keys can have",
		Long: `
Lists the scopes that API keys can have, the presets that include each, and the
requests that each allows. Keys can also have all scopes of a resource, such as
unikernel:*, or *.`,
		Example: `  $ caddy api-token scopes
  $ caddy api-token scopes --output json | jq -r '.[] | select(.presets | index("deploy")) | .name'`,
	},
	flags: func(flags *pflag.FlagSet) { listFlags(flags, scopeFields) },
	run:   (*invocation).scopes,
}

// listedScope is a scope in a list.
type listedScope struct{ client.Scope }

// JSON implements [object].
func (s listedScope) JSON() json.RawMessage { return marshal(s.Scope) }

var scopeFields = []field[listedScope]{
	{column: column{name: "SCOPE"}, value: func(s listedScope) any { return s.Name }},
	{column: column{name: "PRESETS", rank: 2, least: 8, list: true},
		value: func(s listedScope) any { return s.Presets }},
	{column: column{name: "REQUESTS", rank: 1, least: 16, list: true},
		value: func(s listedScope) any { return s.Routes }},
}

func (i *invocation) scopes() error {
	if len(i.args) > 0 {
		return usageErrorf("scopes takes only flags")
	}
	out, err := newResults(i, scopeFields)
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	catalog, err := api.Catalog(i.ctx)
	if err != nil {
		return api.explain(err)
	}
	for _, scope := range catalog.Scopes {
		if err := out.write(listedScope{scope}); err != nil {
			return err
		}
	}
	return out.end()
}
