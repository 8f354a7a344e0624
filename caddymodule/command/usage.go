package command

import (
	"encoding/json"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var usageVerb = verb{
	command: cobra.Command{
		Use:   "usage <id|hint|name>...",
		Short: "Shows the usage of API keys",
		Long: `
Shows how often API keys were used and refused, and the time, client address, user
agent and route of their last use. Pass their IDs, hints or names.

With --step, --from or --to, it shows the history of one key instead: the number
of requests by scope and outcome, per hour (kept for 7 days) or per day (kept for
history_retention, by default 400 days), in UTC.`,
		Example: `  $ caddy api-token usage 4fQ9Zt2LkVb7
  $ caddy api-token usage 4fQ9Zt2LkVb7 --step hour --from 2026-11-25T00:00:00Z`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("step", "", "Show the history per hour or day (default day with --from or --to)")
		flags.String("from", "", "Start of the history, such as 2026-11-01T00:00:00Z (default: all)")
		flags.String("to", "", "End of the history (default now)")
		choose(flags, "step", "hour", "day")
		listFlags(flags, usageFields)
	},
	run: (*invocation).usage,
}

func (i *invocation) usage() error {
	if i.flags.Changed("step") || i.flags.Changed("from") || i.flags.Changed("to") {
		return i.usageHistory()
	}
	if err := i.checkNames(i.args...); err != nil {
		return err
	}
	out, err := newResults(i, usageFields)
	if err != nil {
		return err
	}
	_, keys, err := i.keys()
	if err != nil {
		return err
	}
	err = i.each(keys, func(k key) error {
		if k.err != nil {
			return k.err
		}
		return out.write(keyUsage{k.Token})
	})
	if endErr := out.end(); err == nil {
		err = endErr
	}
	return err
}

// keyUsage is a key's usage.
type keyUsage struct{ client.Token }

// JSON implements [object].
func (u keyUsage) JSON() json.RawMessage {
	var lastUsed *string
	if text := rfc3339(u.LastUsedAt); text != "" {
		lastUsed = &text
	}
	return marshal(struct {
		ID            string  `json:"id"`
		Name          string  `json:"name"`
		Uses          uint64  `json:"usage_count"`
		Denied        uint64  `json:"denied_count"`
		LastUsed      *string `json:"last_used_at"`
		LastIP        string  `json:"last_used_ip"`
		LastUserAgent string  `json:"last_used_user_agent"`
		LastRoute     string  `json:"last_used_route"`
	}{u.ID, u.Name, u.UsageCount, u.DeniedCount, lastUsed, u.LastUsedIP, u.LastUsedUserAgent, u.LastUsedRoute})
}

var usageFields = []field[keyUsage]{
	{column: column{name: "ID"}, value: func(u keyUsage) any { return u.ID }},
	{column: column{name: "NAME", rank: 5, least: 8}, value: func(u keyUsage) any { return u.Name }},
	{column: column{name: "USES", right: true}, value: func(u keyUsage) any { return u.UsageCount }},
	{column: column{name: "REFUSED", right: true}, value: func(u keyUsage) any { return u.DeniedCount }},
	{column: column{name: "LAST USED"}, value: func(u keyUsage) any { return since(u.LastUsedAt) }},
	{column: column{name: "LAST IP", rank: 3}, value: func(u keyUsage) any { return u.LastUsedIP }},
	{column: column{name: "LAST USER AGENT", rank: 1, least: 8},
		value: func(u keyUsage) any { return u.LastUsedUserAgent }},
	{column: column{name: "LAST ROUTE", rank: 2, least: 10}, value: func(u keyUsage) any { return u.LastUsedRoute }},
}

// usageHistory prints a key's usage over time.
func (i *invocation) usageHistory() error {
	if err := i.checkOneKey("usage with --step, --from or --to"); err != nil {
		return err
	}
	if i.output() == outputID || i.flags.Changed("columns") {
		return usageErrorf("--output id and --columns don't work with --step, --from or --to")
	}
	out, err := newResults(i, historyFields)
	if err != nil {
		return err
	}
	query := client.UsageQuery{Step: i.flags.String("step")}
	if query.From, err = i.timeFlag("from"); err != nil {
		return err
	}
	if query.To, err = i.timeFlag("to"); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	found, err := i.oneKey(api)
	if err != nil {
		return err
	}
	points, err := api.Usage(i.ctx, found.ID, query)
	if err != nil {
		return api.explain(err)
	}
	for _, p := range points {
		if err := out.write(p); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	if len(points) == 0 && i.tabular() {
		i.message("no requests")
	}
	return nil
}

var historyFields = []field[client.UsagePoint]{
	{column: column{name: "TIME (UTC)"}, value: func(p client.UsagePoint) any { return period(p.Time) }},
	{column: column{name: "SCOPE", rank: 1, least: 12}, value: func(p client.UsagePoint) any { return p.Scope }},
	{column: column{name: "OUTCOME", rank: 2, least: 12, style: outcomeStyle},
		value: func(p client.UsagePoint) any { return p.Outcome }},
	{column: column{name: "REQUESTS", right: true}, value: func(p client.UsagePoint) any { return p.Count }},
}

func outcomeStyle(outcome string) style {
	if outcome == "ok" {
		return green
	}
	return red
}
