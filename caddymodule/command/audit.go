package command

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var auditVerb = verb{
	command: cobra.Command{
		Use:        "audit",
		SuggestFor: []string{"log", "history"},
		Short:      "Lists changes to API keys",
		Long: `
Lists audit log entries, newest first. Use flags to filter them.`,
		Example: `  $ caddy api-token audit --limit 20
  $ caddy api-token audit --token-id 4fQ9Zt2LkVb7 --output json`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Int("limit", 0, "Maximum number of entries, 1 to "+strconv.Itoa(client.MaxPage)+" (default all)")
		flags.String("cursor", "", "Cursor for the next page, printed by audit with --limit")
		flags.String("token-id", "", "Key that was changed: its ID, hint or name")
		flags.String("actor", "", "Who made the change: an admin key's ID, a Caddy user or caddy-admin")
		flags.String("action", "",
			"create, edit, rotate, revoke, disable, enable, delete, import, compact, repair or 'accept clock'")
		choose(flags, "action", "create", "edit", "rotate", "revoke", "disable", "enable", "delete", "import",
			"compact", "repair", "accept clock")
		listFlags(flags, auditFields)
	},
	run: (*invocation).audit,
}

func (i *invocation) audit() error {
	if len(i.args) > 0 {
		return usageErrorf("audit takes only flags; select a key with --token-id")
	}
	out, err := newResults(i, auditFields)
	if err != nil {
		return err
	}
	query := client.AuditQuery{
		Cursor: i.flags.String("cursor"), Actor: i.flags.String("actor"), Action: i.flags.String("action"),
	}
	if query.Limit, err = i.limitFlag(); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if query.TokenID, err = i.keyFlag(api, "token-id"); err != nil {
		return err
	}
	listed, next := 0, ""
	for page, err := range api.AuditPages(i.ctx, query) {
		if err != nil {
			return api.explain(err)
		}
		for _, entry := range page.Entries {
			if err := out.write(entry); err != nil {
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
		i.message("no changes")
	}
	i.moreEntries(next)
	return nil
}

var auditFields = []field[client.AuditEntry]{
	{column: column{name: "TIME (UTC)"}, value: func(e client.AuditEntry) any { return instant(e.Time) }},
	{column: column{name: "ACTION"}, value: func(e client.AuditEntry) any { return e.Action }},
	{column: column{name: "KEY"}, value: func(e client.AuditEntry) any { return e.TokenID }},
	{column: column{name: "NAME", rank: 2, least: 8}, value: func(e client.AuditEntry) any { return e.TokenName }},
	{column: column{name: "ACTOR", rank: 3, least: 12}, value: func(e client.AuditEntry) any { return e.Actor }},
	{column: column{name: "CHANGES", rank: 1, least: 10}, value: changes},
	{column: column{name: "FROM"}, wide: true, value: func(e client.AuditEntry) any { return e.Address }},
}

// fieldChanges are the changes of an audit entry by field.
type fieldChanges map[string]string

func changes(e client.AuditEntry) any { return fieldChanges(e.Changes) }

// String returns the changes with the API's names of the fields.
func (c fieldChanges) String() string { return c.join(func(field string) string { return field }) }

// words returns the changes with names of the fields for people.
func (c fieldChanges) words() string { return c.join(fieldName) }

func (c fieldChanges) join(name func(field string) string) string {
	var all []string
	for _, field := range slices.Sorted(maps.Keys(c)) {
		all = append(all, name(field)+": "+c[field])
	}
	return strings.Join(all, "; ")
}

// fieldName returns a field's name for people, as in the dashboard's audit log.
func fieldName(field string) string {
	switch field {
	case "allowed_ips":
		return "addresses"
	case "expires_at":
		return "expires"
	case "grace":
		return "old secret works for"
	case "not_before":
		return "valid from"
	case "previous_valid_until":
		return "old secret until"
	}
	return strings.ReplaceAll(field, "_", " ")
}
