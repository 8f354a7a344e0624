package command

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var usageVerb = verb{
	command: cobra.Command{
		Use:   "usage <id>...",
		Short: "Shows the usage of API keys",
		Long: `
Shows how often API keys were used and refused, and the time, client address, user
agent and route of their last use.

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
		outputFlag(flags, "table, json (one array) or id")
	},
	run: (*invocation).usage,
}

func (i *invocation) usage() error {
	if i.flags.Changed("step") || i.flags.Changed("from") || i.flags.Changed("to") {
		return i.usageHistory()
	}
	ids, err := i.ids()
	if err != nil {
		return err
	}
	form, err := i.output()
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	var out rowWriter
	switch form {
	case outputJSON:
		out = &jsonWriter{out: i.out}
	case outputID:
		out = idWriter{out: i.out}
	default:
		out = tableWriter{newTable(i.out, []column{
			{name: "ID"}, {name: "USES", right: true}, {name: "DENIED", right: true}, {name: "LAST USED"},
			{name: "FROM", least: 8}, {name: "BY", least: 8}, {name: "FOR", least: 8},
		})}
	}
	err = i.each(ids, func(id string) error {
		t, err := api.Get(i.ctx, id)
		if err != nil {
			return api.explain(err)
		}
		text, err := marshal(usageObject{t.ID, t.Name, t.UsageCount, t.DeniedCount, shownTime(t.LastUsedAt),
			t.LastUsedIP, t.LastUsedUserAgent, t.LastUsedRoute})
		if err != nil {
			return err
		}
		return out.write(text, []string{
			t.ID, strconv.FormatUint(t.UsageCount, 10), strconv.FormatUint(t.DeniedCount, 10),
			ago(t.LastUsedAt, i.now()),
			t.LastUsedIP, t.LastUsedUserAgent, t.LastUsedRoute,
		})
	})
	if endErr := out.end(); err == nil {
		err = endErr
	}
	return err
}

// usageHistory prints a token's usage over time.
func (i *invocation) usageHistory() error {
	id, err := i.oneID("usage with --step, --from or --to")
	if err != nil {
		return err
	}
	out, err := i.listWriter(usageColumns)
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
	points, err := api.Usage(i.ctx, id, query)
	if err != nil {
		return api.explain(err)
	}
	for _, p := range points {
		row := []string{p.Time.UTC().Format("2006-01-02 15:04"), p.Scope, p.Outcome, strconv.FormatUint(p.Count, 10)}
		if err := out.write(p.JSON(), row); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	if len(points) == 0 {
		i.message("no requests")
	}
	return nil
}

var usageColumns = []column{{name: "TIME (UTC)"}, {name: "SCOPE", least: 8}, {name: "OUTCOME", least: 8},
	{name: "REQUESTS", right: true}}

// usageObject contains a token's usage fields under their API names.
type usageObject struct {
	ID            string  `json:"id"`
	Name          string  `json:"name"`
	Uses          uint64  `json:"usage_count"`
	Denied        uint64  `json:"denied_count"`
	LastUsed      *string `json:"last_used_at"`
	LastIP        string  `json:"last_used_ip"`
	LastUserAgent string  `json:"last_used_user_agent"`
	LastRoute     string  `json:"last_used_route"`
}

func shownTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format(time.RFC3339)
	return &text
}
