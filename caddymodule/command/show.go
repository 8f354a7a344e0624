package command

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var showVerb = verb{
	command: cobra.Command{
		Use:   "show <id>",
		Short: "Shows the details of an API key",
		Long: `
Shows an API key's settings, status and last use. The secret isn't stored, so it
can't be shown.`,
	},
	flags: func(flags *pflag.FlagSet) { outputFlag(flags, "table, json or id") },
	run:   (*invocation).show,
}

func (i *invocation) show() error {
	id, err := i.oneID("show")
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
	token, err := api.Get(i.ctx, id)
	if err != nil {
		return api.explain(err)
	}
	if err := i.showToken(form, token); err != nil || form != outputTable || !token.PreviousValidUntil.After(i.now()) {
		return err
	}
	old, err := api.PreviousUse(i.ctx, id)
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

// showToken prints a single token.
func (i *invocation) showToken(form string, token client.Token) (err error) {
	switch form {
	case outputJSON:
		_, err = fmt.Fprintln(i.out, printableJSON(token.JSON()))
	case outputID:
		_, err = fmt.Fprintln(i.out, printable(token.ID))
	default:
		err = i.showAll(token)
	}
	return err
}

// showAll prints a token, one field per line.
func (i *invocation) showAll(t client.Token) error {
	out := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		_, _ = fmt.Fprintf(out, "%s\t%s\n", name, orDash(value)) // Flush returns any error
	}
	moment := func(name string, at time.Time, none string) {
		if at.IsZero() {
			line(name, none)
			return
		}
		line(name, fmt.Sprintf("%s (%s)", at.UTC().Format(time.RFC3339), relative(at, i.now())))
	}
	line("id", t.ID)
	line("name", t.Name)
	line("token", t.TokenHint)
	line("kind", t.Kind)
	line("format", t.Format)
	line("status", t.Status)
	line("account", t.Account)
	line("scopes", strings.Join(t.Scopes, ", "))
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
	line("uses", strconv.FormatUint(t.UsageCount, 10))
	line("denied", strconv.FormatUint(t.DeniedCount, 10))
	moment("last used", t.LastUsedAt, never)
	line("last used from", t.LastUsedIP)
	line("last used by", t.LastUsedUserAgent)
	line("last used for", t.LastUsedRoute)
	return out.Flush()
}
