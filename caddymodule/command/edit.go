package command

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var editVerb = verb{
	command: cobra.Command{
		Use:   "edit <id>",
		Short: "Changes what a token may do, and until when",
		Long: `
Changes a token; the change is in force when the command is done. Only what is
given changes. An expired or revoked token isn't brought back to life, and no
secret lives longer than max_lifetime from when it was made: use rotate.

If somebody else changes the token at the same time, one of the two is told
(exit status 5) and nothing is lost.`,
		Example: `  $ caddy api-token edit 4fQ9Zt2LkVb7 --name "ci, staging" --expires-in 90d
  $ caddy api-token edit 4fQ9Zt2LkVb7 --scope unikernel:list --allowed-ip none
  $ caddy api-token edit 4fQ9Zt2LkVb7 --metadata team=infra --remove-metadata owner`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("name", "", "What the token is for")
		flags.String("account", "", "Account on whose behalf the token acts")
		flags.StringArray("scope", nil, "What it may do, in place of what it could (repeatable)")
		flags.String("preset", "", "Name of a set of scopes (instead of --scope)")
		flags.StringArray("allowed-ip", nil, "Address or range it may be used from (repeatable), or none for anywhere")
		flags.StringArray("metadata", nil, "Note of the form key=value, added to the present ones (repeatable)")
		flags.StringArray("remove-metadata", nil, "Key of a note to remove (repeatable)")
		flags.String("not-before", "", "When it begins, such as 2030-01-01T00:00:00Z, or none")
		flags.String("expires-in", "", "How long it lives from now: 12h, 90d, 6mo, 2y, a number of seconds, or never")
		flags.String("expires-at", "", "When it ends, such as 2030-12-31T23:59:59Z (instead of --expires-in)")
		flags.String("rate-limit", "", "Requests in a time, such as 60/1m, or none")
		flags.String("quota", "", "Requests in a period, such as 10000/month, or none")
		outputFlag(flags, "table, json or id")
	},
	run: (*invocation).edit,
}

func (i *invocation) edit() error {
	id, err := i.oneID("edit")
	if err != nil {
		return err
	}
	form, err := i.output()
	if err != nil {
		return err
	}
	request, err := i.editRequest()
	if err != nil {
		return err
	}
	if len(request) == 0 {
		return usageErrorf("nothing is given that should change")
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	before, err := api.Get(i.ctx, id)
	if err != nil {
		return api.explain(err)
	}
	token, err := api.Edit(i.ctx, id, before.Version, request)
	if err != nil {
		return api.explain(err)
	}
	if token.Version == before.Version {
		i.tell("Nothing had to change.")
	}
	return i.showToken(form, token)
}

// none in place of a value removes what there is.
const none = "none"

// editRequest reads the flags that were given. What can be wrong with their
// meaning is left to the server.
func (i *invocation) editRequest() (client.EditRequest, error) {
	request := client.EditRequest{}
	for flag, member := range map[string]string{"name": "name", "account": "account", "preset": "preset"} {
		if i.flags.Changed(flag) {
			request[member] = i.flags.String(flag)
		}
	}
	if i.flags.Changed("expires-in") {
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
		i.editList(request, "allowed-ip", "allowed_ips"),
		i.editMetadata(request),
		i.editOr(request, "not-before", "not_before", func() (any, error) { return i.timeFlag("not-before") }),
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
	values, err := i.flags.GetStringArray(flag)
	if len(values) == 1 && values[0] == none {
		values = []string{}
	}
	request[member] = values
	return err
}

// editOr takes "none" for the removal of a member.
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
