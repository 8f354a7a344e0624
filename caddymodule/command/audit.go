package command

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var auditVerb = verb{
	command: cobra.Command{
		Use:   "audit",
		Short: "Lists changes to API keys",
		Long: `
Lists audit log entries, newest first. Use flags to filter them.`,
		Example: `  $ caddy api-token audit --limit 20
  $ caddy api-token audit --token-id 4fQ9Zt2LkVb7 --output json`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Int("limit", 0, "Maximum number of entries, 1 to "+strconv.Itoa(client.MaxPage)+" (default all)")
		flags.String("cursor", "", "Cursor for the next page, printed by audit with --limit")
		flags.String("token-id", "", "ID of the key that was changed")
		flags.String("actor", "", "Who made the change: an admin key's ID, a Caddy user or caddy-admin")
		flags.String("action", "",
			"create, edit, rotate, revoke, disable, enable, delete, import, compact, repair or 'accept clock'")
		flags.StringP("output", "o", outputTable, "table or json (one array)")
	},
	run: (*invocation).audit,
}

func (i *invocation) audit() error {
	if len(i.args) > 0 {
		return usageErrorf("audit takes only flags; select a key with --token-id")
	}
	out, err := i.listWriter(auditColumns)
	if err != nil {
		return err
	}
	query := client.AuditQuery{
		Limit: client.MaxPage, Cursor: i.flags.String("cursor"), TokenID: i.flags.String("token-id"),
		Actor: i.flags.String("actor"), Action: i.flags.String("action"),
	}
	if query.Limit, err = i.limitFlag(); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	listed := 0
	for page, err := range api.AuditPages(i.ctx, query) {
		if err != nil {
			return api.explain(err)
		}
		for _, entry := range page.Entries {
			if err := out.write(entry.JSON(), auditRow(entry)); err != nil {
				return err
			}
			listed++
		}
		if i.onePage(page.NextCursor) {
			break
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	if listed == 0 {
		i.message("no changes")
	}
	return nil
}

var auditColumns = []column{
	{name: "TIME"}, {name: "ACTION"}, {name: "TOKEN"}, {name: "NAME", least: 6}, {name: "ACTOR", least: 6},
	{name: "CHANGES", least: 8},
}

func auditRow(e client.AuditEntry) []string {
	var changes []string
	for _, field := range slices.Sorted(maps.Keys(e.Changes)) {
		changes = append(changes, field+": "+e.Changes[field])
	}
	return []string{
		e.Time.UTC().Format(time.DateTime), e.Action, e.TokenID, e.TokenName, e.Actor, strings.Join(changes, "; "),
	}
}
