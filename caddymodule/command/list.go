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
		Short: "Lists API keys",
		Long: `
Lists API keys, newest first. Use flags to filter them.

With --status expiring, the exit status is 4 if any keys are listed, so that
scripts can check for it.`,
		Example: `  $ caddy api-token list --account alice --sort -last_used_at
  $ caddy api-token list --status expiring --output id
  $ caddy api-token list --never-used --output json | jq -r '.[].name'`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Int("limit", 0, "Maximum number of keys, 1 to "+strconv.Itoa(client.MaxPage)+" (default all)")
		flags.String("cursor", "", "Cursor for the next page, printed by list with --limit")
		flags.String("sort", "",
			"created_at, expires_at, name, last_used_at or usage_count; prefix - for descending (default -created_at)")
		flags.String("q", "", "Part of the name, or the beginning of the ID")
		flags.String("status", "", "active, expiring, expired, not_yet_valid, disabled or revoked")
		flags.String("account", "", "Account that the keys act for")
		flags.String("scope", "", "Scope that the keys include")
		flags.Bool("never-used", false, "Only keys that were never used; =false: only used keys")
		flags.String("unused-since", "",
			"Only keys neither used nor created since this time, such as 2030-01-01T00:00:00Z")
		flags.Bool("count", false, "Also print the total number")
		outputFlag(flags, "table, json (one array) or id (one per line)")
	},
	run: (*invocation).list,
}

func (i *invocation) list() error {
	if len(i.args) > 0 {
		return usageErrorf("list takes only flags; use show for a single key")
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
			i.message("%d in total", *page.Total)
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
		i.message("no API keys")
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

// limitFlag returns the maximum number of entries per page.
func (i *invocation) limitFlag() (int, error) {
	if !i.flags.Changed("limit") {
		return client.MaxPage, nil
	}
	limit := i.flags.Int("limit")
	if limit < 1 || limit > client.MaxPage {
		return 0, usageErrorf("--limit: must be an integer from 1 to %d", client.MaxPage)
	}
	return limit, nil
}

// onePage reports whether the user requested only one page. If so, it prints how to request
// the next page.
func (i *invocation) onePage(next string) bool {
	if !i.flags.Changed("limit") {
		return false
	}
	if next != "" {
		i.message("More entries: --cursor %s", next)
	}
	return true
}
