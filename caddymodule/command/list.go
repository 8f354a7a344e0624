package command

import (
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var listVerb = verb{
	command: cobra.Command{
		Use:        "list",
		SuggestFor: []string{"ls", "keys"},
		Short:      "Lists API keys",
		Long: `
Lists API keys, newest first. Use flags to filter them.

With --status expiring, the exit status is 4 if any keys are listed, so that
scripts can check for it.`,
		Example: `  $ caddy api-token list --account alice --sort -last_used_at
  $ caddy api-token list --status expiring --output id
  $ caddy api-token list --never-used --output json | jq -r '.[].name'
  $ caddy api-token list --output csv --columns name,owner,expires >keys.csv`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Int("limit", 0, "Maximum number of keys, 1 to "+strconv.Itoa(client.MaxPage)+" (default all)")
		flags.String("cursor", "", "Cursor for the next page, printed by list with --limit")
		flags.String("sort", "",
			"created_at, expires_at, name, last_used_at or usage_count; prefix - for descending (default -created_at)")
		choose(flags, "sort", "created_at", "-created_at", "expires_at", "-expires_at", "name", "-name", "last_used_at",
			"-last_used_at", "usage_count", "-usage_count")
		flags.String("q", "", "Part of the name or of a metadata value such as the owner, or the beginning of the ID")
		flags.String("kind", "", "api or admin")
		choose(flags, "kind", "api", "admin")
		flags.String("status", "", "active, expiring, expired, not_yet_valid, disabled, revoked or damaged")
		choose(flags, "status", "active", client.StatusExpiring, "expired", "not_yet_valid", "disabled", "revoked",
			"damaged")
		flags.String("account", "", "Account that the keys act for")
		flags.String("owner", "", "Owner of the keys")
		flags.String("tag", "", "Tag that the keys have")
		flags.String("scope", "", "Scope that the keys include")
		flags.Bool("never-used", false, "Only keys that were never used; =false: only used keys")
		flags.String("unused-since", "",
			"Only keys neither used nor created since this time, such as 2030-01-01T00:00:00Z")
		flags.String("expires-before", "", "Only keys that expire before this time, such as 2030-01-01T00:00:00Z")
		flags.Bool("count", false, "Also print the total number")
		watchFlag(flags)
		listFlags(flags, keyFields)
	},
	run: (*invocation).list,
}

func (i *invocation) list() error {
	if len(i.args) > 0 {
		return usageErrorf("list takes only flags; find keys by name with --q, or use show for a single key")
	}
	out, err := newResults(i, keyFields)
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
	if i.flags.Bool("watch") {
		return i.watch(api, query)
	}
	listed, total, next := 0, (*int)(nil), ""
	for page, err := range api.Pages(i.ctx, query) {
		if err != nil {
			return api.explain(err)
		}
		if page.Total != nil {
			total = page.Total
		}
		for _, token := range page.Tokens {
			if err := out.write(token); err != nil {
				return err
			}
			listed++
		}
		if i.flags.Changed("limit") {
			next = page.NextCursor
			break
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	if listed == 0 && i.tabular() {
		i.message("no API keys")
	}
	if total != nil {
		i.message("%s in total", count(uint64(*total)))
	}
	i.moreEntries(next)
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
		Kind:    i.flags.String("kind"),
		Account: i.flags.String("account"),
		Owner:   i.flags.String("owner"),
		Tag:     i.flags.String("tag"),
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
	if query.ExpiresBefore, err = i.timeFlag("expires-before"); err != nil {
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

// moreEntries prints how to request the next page, if there is one.
func (i *invocation) moreEntries(cursor string) {
	if cursor != "" {
		i.message("There are more entries: add --cursor %s", cursor)
	}
}

// keyFields are the fields of an API key in lists.
var keyFields = []field[client.Token]{
	{column: column{name: "ID"}, value: func(t client.Token) any { return t.ID }},
	{column: column{name: "NAME", rank: 9, least: 12}, value: func(t client.Token) any { return t.Name }},
	{column: column{name: "ACCOUNT", rank: 2, least: 7}, value: account},
	{column: column{name: "STATUS", style: statusStyle}, value: func(t client.Token) any { return t.Status }},
	{column: column{name: "SCOPES", rank: 1, least: 10, list: true},
		value: func(t client.Token) any { return t.Scopes }},
	{column: column{name: "EXPIRES", rank: 4}, value: func(t client.Token) any {
		if !t.RevokedAt.IsZero() {
			return "" // it never works again
		}
		return until(t.ExpiresAt)
	}},
	{column: column{name: "LAST USED", rank: 5}, value: func(t client.Token) any { return since(t.LastUsedAt) }},
	{column: column{name: "USES", rank: 3, right: true}, value: func(t client.Token) any { return t.UsageCount }},
	{column: column{name: "REFUSED", right: true}, wide: true,
		value: func(t client.Token) any { return t.DeniedCount }},
	{column: column{name: "LAST IP"}, wide: true, value: func(t client.Token) any { return t.LastUsedIP }},
	{column: column{name: "OWNER"}, wide: true, value: func(t client.Token) any { return t.Metadata["owner"] }},
	{column: column{name: "TAGS"}, wide: true, value: func(t client.Token) any { return t.Metadata["tags"] }},
	{column: column{name: "RESOURCES"}, wide: true, value: func(t client.Token) any { return t.Resources }},
	{column: column{name: "ALLOWED IPS"}, wide: true, value: func(t client.Token) any { return t.AllowedIPs }},
	{column: column{name: "CREATED"}, wide: true, value: func(t client.Token) any { return since(t.CreatedAt) }},
	{column: column{name: "CREATED BY"}, wide: true, value: func(t client.Token) any { return t.CreatedBy }},
}

// account returns the account that a key acts for. Admin keys don't have one.
func account(t client.Token) any {
	if t.Kind == "admin" {
		return "(admin)"
	}
	return t.Account
}
