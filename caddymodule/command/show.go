package command

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var showVerb = verb{
	command: cobra.Command{
		Use:        "show <id|hint|name>",
		SuggestFor: []string{"get", "info"},
		Short:      "Shows the details of an API key",
		Long: `
Shows an API key's settings, status and last use. Pass the key's ID, its hint such
as mmk_4fQ9Zt2LkVb7_…, or its exact name. The secret isn't stored, so it can't be
shown. If several gates have counted requests, it also shows the usage at each.`,
		Example: `  $ caddy api-token show 4fQ9Zt2LkVb7
  $ caddy api-token show "release bot" -o id`,
	},
	flags: keyOutputFlag,
	run:   (*invocation).show,
}

func (i *invocation) show() error {
	if err := i.checkOneKey("show"); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	token, err := i.oneKey(api)
	if err != nil {
		return err
	}
	if i.output() != outputTable {
		return i.showToken(token)
	}
	byNode, err := i.usageByNode(api, token)
	if err != nil {
		return err
	}
	if err := i.showAll(token, byNode...); err != nil || !i.oldSecretWorks(token) {
		return err
	}
	old, err := api.PreviousUse(i.ctx, token.ID)
	if err != nil {
		return api.explain(err)
	}
	if old.LastUsedAt.IsZero() {
		i.message("The old secret has not been used since the rotation.")
	} else {
		i.message("The old secret was last used %s from %s by %s.", relative(old.LastUsedAt, i.now()),
			orDash(old.LastUsedIP), orDash(old.LastUsedUserAgent))
	}
	return nil
}

// usageByNode returns a key's usage at each gate if several gates have counted any.
func (i *invocation) usageByNode(api *endpointClient, token client.Token) ([]client.NodeUsage, error) {
	if token.UsageCount+token.DeniedCount == 0 {
		return nil, nil
	}
	nodes, err := api.UsageByNode(i.ctx, token.ID)
	if err != nil {
		return nil, api.explain(err)
	}
	if len(nodes) < 2 {
		return nil, nil
	}
	return nodes, nil
}

// keyOutputFlag declares --output for commands that print a single key.
func keyOutputFlag(flags *pflag.FlagSet) {
	outputFlag(flags, "table, json or id", outputTable, outputJSON, outputID)
}

// showToken prints a single key.
func (i *invocation) showToken(token client.Token) (err error) {
	switch i.output() {
	case outputJSON:
		_, err = fmt.Fprintln(i.out, printableJSON(token.JSON()))
	case outputID:
		_, err = fmt.Fprintln(i.out, printable(token.ID))
	default:
		err = i.showAll(token)
	}
	return err
}

// showAll prints a token and its usage at several gates, one field per line.
func (i *invocation) showAll(t client.Token, byNode ...client.NodeUsage) error {
	var rows [][]string
	line := func(name, value string) { rows = append(rows, []string{name, value}) }
	moment := func(name string, at time.Time, none string) {
		if at.IsZero() {
			line(name, none)
			return
		}
		line(name, fmt.Sprintf("%s (%s)", rfc3339(at), relative(at, i.now())))
	}
	line("id", t.ID)
	line("name", t.Name)
	line("hint", t.TokenHint)
	line("kind", t.Kind)
	line("format", t.Format)
	line("status", t.Status)
	line("account", t.Account)
	line("scopes", strings.Join(t.Scopes, ", "))
	if len(t.Resources) > 0 {
		line("resources", strings.Join(t.Resources, ", "))
	}
	line("allowed ips", strings.Join(t.AllowedIPs, ", "))
	if t.RateLimit != nil {
		line("rate limit", fmt.Sprintf("%d/%s", t.RateLimit.Requests, t.RateLimit.Window))
	}
	if t.Quota != nil {
		line("quota", fmt.Sprintf("%d/%s", t.Quota.Requests, t.Quota.Period))
	}
	for _, key := range slices.Sorted(maps.Keys(t.Metadata)) {
		line("metadata", key+"="+t.Metadata[key])
	}
	moment("created", t.CreatedAt, "")
	line("created by", t.CreatedBy)
	moment("updated", t.UpdatedAt, "")
	moment("not before", t.NotBefore, "")
	moment("expires", t.ExpiresAt, never)
	if !t.RevokedAt.IsZero() {
		moment("revoked", t.RevokedAt, "")
	}
	if !t.PreviousValidUntil.IsZero() {
		moment("old secret until", t.PreviousValidUntil, "")
	}
	line("uses", count(t.UsageCount))
	line("refused", count(t.DeniedCount))
	moment("last used", t.LastUsedAt, never)
	line("last used from", t.LastUsedIP)
	line("last used by", t.LastUsedUserAgent)
	line("last used for", t.LastUsedRoute)
	for _, n := range byNode {
		line("by gate", fmt.Sprintf("%s: %s uses, %s refused, last used %s", cmp.Or(n.Name, n.ID),
			count(n.UsageCount), count(n.DeniedCount), ago(n.LastUsedAt, i.now())))
	}
	return i.printFacts([]column{{style: func(string) style { return bold }},
		{rank: 1, least: 20, wrap: true, style: statusStyle}}, rows)
}
