package caddymodule

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
		Short: "Shows how often tokens were used, and when last",
		Long: `
Shows how often tokens were used and refused, when they were used last, from
where, by what and for what.`,
	},
	flags: func(flags *pflag.FlagSet) { outputFlag(flags, "table, json (one array) or id") },
	run:   (*invocation).usage,
}

func (i *invocation) usage() error {
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
		text, err := marshal(usageObject{t.ID, t.Name, t.UsageCount, t.DeniedCount, shownTime(t.LastUsedAt), t.LastUsedIP, t.LastUsedUserAgent, t.LastUsedRoute})
		if err != nil {
			return err
		}
		return out.write(text, []string{
			t.ID, strconv.FormatUint(t.UsageCount, 10), strconv.FormatUint(t.DeniedCount, 10), client.Ago(t.LastUsedAt, i.now()),
			t.LastUsedIP, t.LastUsedUserAgent, t.LastUsedRoute,
		})
	})
	if endErr := out.end(); err == nil {
		err = endErr
	}
	return err
}

// usageObject is the part of a token that is about its use, with the API's names.
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
