package command

import (
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var listVerb = verb{
	command: cobra.Command{
		Use:   "list",
		Short: "Lists tokens",
		Long: `
Lists the tokens, newest first: all of them, or those that the flags ask for.

With --status expiring, the exit status is 4 if there are some, so that a timer
can tell.`,
		Example: `  $ caddy api-token list --account alice --sort -last_used_at
  $ caddy api-token list --status expiring --output id
  $ caddy api-token list --never-used --output json | jq -r '.[].name'`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Int("limit", 0, "Most tokens to list, 1 to "+strconv.Itoa(client.MaxPage)+" (default all)")
		flags.String("cursor", "", "Where to go on, as told by a list with --limit")
		flags.String("sort", "",
			"created_at, expires_at, name, last_used_at or usage_count; with - before it descending (default -created_at)")
		flags.String("q", "", "Part of the name, or the beginning of the id")
		flags.String("status", "", "active, expiring, expired, not_yet_valid, disabled or revoked")
		flags.String("account", "", "Account on whose behalf the tokens act")
		flags.String("scope", "", "Scope that the tokens may use")
		flags.Bool("never-used", false, "Those never used; =false: those used")
		flags.String("unused-since", "", "Those neither used nor made since, such as 2030-01-01T00:00:00Z")
		flags.Bool("count", false, "Also tell how many there are in all")
		outputFlag(flags, "table, json (one array) or id (one a line)")
	},
	run: (*invocation).list,
}

func (i *invocation) list() error {
	if len(i.args) > 0 {
		return usageErrorf("list takes flags only; to see one token, use show")
	}
	form, err := i.output()
	if err != nil {
		return err
	}
	query, err := i.listQuery()
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	out, listed := i.tokenWriter(form), 0
	for page, err := range api.Pages(i.ctx, query) {
		if err != nil {
			return api.explain(err)
		}
		if page.Total != nil {
			i.tell("%d in all", *page.Total)
		}
		for _, token := range page.Tokens {
			if err := out.write(token.JSON(), i.tokenRow(token)); err != nil {
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
	if listed == 0 && form == outputTable {
		i.tell("no tokens")
	}
	if query.Status == client.StatusExpiring && listed > 0 {
		return exitError(exitRefused)
	}
	return nil
}

func (i *invocation) listQuery() (client.ListQuery, error) {
	query := client.ListQuery{
		Limit:   client.MaxPage,
		Cursor:  i.flags.String("cursor"),
		Sort:    i.flags.String("sort"),
		Q:       i.flags.String("q"),
		Status:  i.flags.String("status"),
		Account: i.flags.String("account"),
		Scope:   i.flags.String("scope"),
		Count:   i.flags.Bool("count"),
	}
	var err error
	if query.Limit, err = i.limitFlag(); err != nil {
		return query, err
	}
	if query.UnusedSince, err = i.timeFlag("unused-since"); err != nil {
		return query, err
	}
	if i.flags.Changed("never-used") {
		neverUsed := i.flags.Bool("never-used")
		query.NeverUsed = &neverUsed
	}
	return query, nil
}

// limitFlag returns the most to list at once.
func (i *invocation) limitFlag() (int, error) {
	if !i.flags.Changed("limit") {
		return client.MaxPage, nil
	}
	limit := i.flags.Int("limit")
	if limit < 1 || limit > client.MaxPage {
		return 0, usageErrorf("--limit: must be a whole number from 1 to %d", client.MaxPage)
	}
	return limit, nil
}

// onePage reports whether no more than one page was asked for, and tells how to go
// on behind it.
func (i *invocation) onePage(next string) bool {
	if !i.flags.Changed("limit") {
		return false
	}
	if next != "" {
		i.tell("There are more: --cursor %s", next)
	}
	return true
}
