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
		Short: "Lists who changed which token when",
		Long: `
Lists the changes of tokens, newest first: all that is kept of them, or what the
flags ask for.`,
		Example: `  $ caddy api-token audit --limit 20
  $ caddy api-token audit --token-id 4fQ9Zt2LkVb7 --output json`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Int("limit", 0, "Most lines to list, 1 to "+strconv.Itoa(client.MaxPage)+" (default all)")
		flags.String("cursor", "", "Where to go on, as told by an audit with --limit")
		flags.String("token-id", "", "Id of the token that was changed")
		flags.String("actor", "", "Who changed it: an admin token's id, a Caddy user or caddy-admin")
		flags.String("action", "",
			"create, edit, rotate, revoke, disable, enable, delete, import, compact, repair or 'accept clock'")
		flags.StringP("output", "o", outputTable, "table or json (one array)")
	},
	run: (*invocation).audit,
}

func (i *invocation) audit() error {
	if len(i.args) > 0 {
		return usageErrorf("audit takes flags only; a token is named with --token-id")
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
		i.tell("no changes")
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
