package command

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var editVerb = verb{
	command: cobra.Command{
		Use:        "edit <id|hint|name>",
		SuggestFor: []string{"update", "change", "set"},
		Short:      "Changes an API key's settings",
		Long: `
Changes the given settings of an API key, which you select by its ID, hint or
exact name. The change takes effect before the command returns. Editing doesn't
make an expired or revoked key valid again. It can't extend a secret's lifetime
beyond max_lifetime, counted from the secret's creation; use rotate to create a
new secret.

If someone else changes the key at the same time, one of the two commands fails
with exit status 5, and no change is lost.`,
		Example: `  $ caddy api-token edit 4fQ9Zt2LkVb7 --name "ci, staging" --expires-in 90d
  $ caddy api-token edit 4fQ9Zt2LkVb7 --scope unikernel:list --allowed-ip none
  $ caddy api-token edit 4fQ9Zt2LkVb7 --metadata team=infra --remove-metadata owner`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("name", "", "What the key is for")
		flags.String("account", "", "Account that the key acts for")
		flags.StringArray("scope", nil, "New scope; replaces all current scopes (repeatable)")
		flags.String("preset", "", "Named set of scopes (instead of --scope)")
		flags.StringArray("resource", nil,
			"Resource that the key may act on, such as unikernel/web-* (repeatable), or none for all resources")
		flags.StringArray("allowed-ip", nil, "IP address or range that may use the key (repeatable), or none for any")
		flags.StringArray("metadata", nil, "Metadata to add in the form key=value (repeatable)")
		flags.StringArray("remove-metadata", nil, "Key of metadata to remove (repeatable)")
		flags.String("not-before", "", "When the key becomes valid, such as 2030-01-01T00:00:00Z, or none")
		flags.String("expires-in", "", "Lifetime from now: "+lifetimeUsage)
		flags.String("expires-at", "", "When the key expires, such as 2030-12-31T23:59:59Z (instead of --expires-in)")
		flags.String("old-secret-until", "",
			"When the secret from before a rotation stops working, or none to stop it now")
		flags.String("rate-limit", "", "Rate limit: requests per time window, such as 60/1m, or none")
		flags.String("quota", "", "Quota: requests per calendar period, such as 10000/month, or none")
		keyOutputFlag(flags)
	},
	run: (*invocation).edit,
}

func (i *invocation) edit() error {
	if err := i.checkOneKey("edit"); err != nil {
		return err
	}
	request, err := i.editRequest()
	if err != nil {
		return err
	}
	if len(request) == 0 {
		return usageErrorf("no changes given; see the flags")
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	before, err := i.oneKey(api)
	if err != nil {
		return err
	}
	token, err := api.Edit(i.ctx, before.ID, before.Version, request)
	if err != nil {
		return i.suggest(api, api.explain(err))
	}
	if token.Version == before.Version {
		i.message("No change was needed.")
	}
	if i.flags.Changed("old-secret-until") {
		i.message("%s", i.oldSecret(token))
	}
	return i.showToken(token)
}

// none is the flag value for removing a setting.
const none = "none"

// editRequest builds the request from the flags that were set. The server validates their
// values.
func (i *invocation) editRequest() (client.EditRequest, error) {
	request := client.EditRequest{}
	for flag, member := range map[string]string{"name": "name", "account": "account", "preset": "preset"} {
		if i.flags.Changed(flag) {
			request[member] = i.flags.String(flag)
		}
	}
	if i.flags.Changed("expires-in") {
		if err := i.lifetimeFlag("expires-in"); err != nil {
			return nil, err
		}
		request["expires_in"] = client.Lifetime(i.flags.String("expires-in"))
	}
	if i.flags.Changed("expires-at") {
		at, err := i.timeFlag("expires-at")
		if err != nil {
			return nil, err
		}
		request["expires_at"] = at
	}
	return request, errors.Join(
		i.editList(request, "scope", "scopes"),
		i.editList(request, "resource", "resources"),
		i.editList(request, "allowed-ip", "allowed_ips"),
		i.editMetadata(request),
		i.editOr(request, "not-before", "not_before", func() (any, error) { return i.timeFlag("not-before") }),
		i.editOr(request, "old-secret-until", "previous_valid_until",
			func() (any, error) { return i.timeFlag("old-secret-until") }),
		i.editOr(request, "rate-limit", "rate_limit", func() (any, error) {
			requests, window, err := i.ratioFlag("rate-limit", "60/1m")
			return client.RateLimit{Requests: requests, Window: window}, err
		}),
		i.editOr(request, "quota", "quota", func() (any, error) {
			requests, period, err := i.ratioFlag("quota", "10000/month")
			return client.Quota{Requests: requests, Period: period}, err
		}))
}

func (i *invocation) editList(request client.EditRequest, flag, member string) error {
	if !i.flags.Changed(flag) {
		return nil
	}
	values, err := i.listFlag(flag)
	if len(values) == 1 && values[0] == none {
		values = []string{}
	}
	request[member] = values
	return err
}

// editOr sets a member to the value that read returns, or to null if the flag's value is
// "none".
func (i *invocation) editOr(request client.EditRequest, flag, member string, read func() (any, error)) error {
	if !i.flags.Changed(flag) {
		return nil
	}
	if i.flags.String(flag) == none {
		request[member] = nil
		return nil
	}
	value, err := read()
	request[member] = value
	return err
}

func (i *invocation) editMetadata(request client.EditRequest) error {
	added, err := i.metadataFlag()
	if err != nil {
		return err
	}
	removed, err := i.flags.GetStringArray("remove-metadata")
	if err != nil || len(added)+len(removed) == 0 {
		return err
	}
	metadata := make(map[string]any, len(added)+len(removed))
	for key, value := range added {
		metadata[key] = value
	}
	for _, key := range removed {
		if _, twice := metadata[key]; twice {
			return usageErrorf("--remove-metadata: the key %q is also given with --metadata", key)
		}
		metadata[key] = nil
	}
	request["metadata"] = metadata
	return nil
}
