package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var refusalsVerb = verb{
	command: cobra.Command{
		Use:   "refusals <id|hint|name>",
		Short: "Shows an API key's refused requests and what to do about them",
		Long: `
Shows the last 100 requests that were refused although the key's secret was
correct, newest first, with times in UTC. For each reason, it prints what to do.`,
		Example: `  $ caddy api-token refusals 4fQ9Zt2LkVb7
  $ caddy api-token refusals 'my ci' --output json | jq -r '.[].ip' | sort | uniq -c`,
	},
	flags: func(flags *pflag.FlagSet) { listFlags(flags, refusalFields) },
	run:   (*invocation).refusals,
}

var refusalFields = []field[client.RefusedRequest]{
	{column: column{name: "TIME (UTC)"}, value: func(r client.RefusedRequest) any { return instant(r.Time) }},
	{column: column{name: "CODE", style: func(string) style { return yellow }},
		value: func(r client.RefusedRequest) any { return r.Code }},
	{column: column{name: "METHOD", rank: 2}, value: func(r client.RefusedRequest) any { return r.Method }},
	{column: column{name: "PATH", rank: 4, least: 16}, value: func(r client.RefusedRequest) any { return r.Path }},
	{column: column{name: "SCOPE"}, wide: true, value: func(r client.RefusedRequest) any { return r.Scope }},
	{column: column{name: "IP", rank: 3}, value: func(r client.RefusedRequest) any { return r.IP }},
	{column: column{name: "AGENT", rank: 1, least: 8}, value: func(r client.RefusedRequest) any { return r.UserAgent }},
}

func (i *invocation) refusals() error {
	if err := i.checkOneKey("refusals"); err != nil {
		return err
	}
	out, err := newResults(i, refusalFields)
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	key, err := i.oneKey(api)
	if err != nil {
		return err
	}
	refusals, err := api.Refusals(i.ctx, key.ID)
	if err != nil {
		return api.explain(err)
	}
	for _, r := range refusals {
		if err := out.write(r); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	if !i.tabular() {
		return nil
	}
	if len(refusals) == 0 {
		i.message("no refused requests")
	}
	for _, advice := range i.advise(key, refusals) {
		i.message("\n%s", advice)
	}
	if ended := i.ended(key); len(refusals) > 0 && ended != "" {
		i.message("\nThis key is %s, so changing it doesn't make it work again. Create a new key instead:\n  %s",
			ended, i.call(likeKey(key)))
	}
	return nil
}

// ended returns "revoked" or "expired" if nothing can make the key work again, or "". A key's
// status may be another one, such as disabled.
func (i *invocation) ended(key client.Token) string {
	switch {
	case !key.RevokedAt.IsZero():
		return "revoked"
	case !key.ExpiresAt.IsZero() && !key.ExpiresAt.After(i.now()):
		return "expired"
	}
	return ""
}

// likeKey returns a command that creates a key with the same rights.
func likeKey(key client.Token) string {
	if key.Kind == "admin" {
		return "create --name " + quoted(key.Name) + " --kind admin --expires-in 90d"
	}
	return "create --name " + quoted(key.Name) + " --account " + quoted(key.Account) + " --expires-in 90d" +
		flagged(" --scope ", key.Scopes) + flagged(" --resource ", key.Resources) +
		flagged(" --allowed-ip ", key.AllowedIPs)
}

// advise returns what to do about refused requests: a text for each reason, the most frequent
// one first.
func (i *invocation) advise(key client.Token, refusals []client.RefusedRequest) (texts []string) {
	byCode := make(map[string][]client.RefusedRequest)
	var codes []string
	for _, r := range refusals {
		if byCode[r.Code] == nil {
			codes = append(codes, r.Code)
		}
		byCode[r.Code] = append(byCode[r.Code], r)
	}
	slices.SortStableFunc(codes, func(a, b string) int { return len(byCode[b]) - len(byCode[a]) })
	for _, code := range codes {
		text := fmt.Sprintf("%s (%d): %s", code, len(byCode[code]), remedies[code])
		if remedies[code] == "" {
			text = fmt.Sprintf("%s (%d): see docs/errors.md.", code, len(byCode[code]))
		}
		if command := commandFor(key, code, byCode[code]); command != "" && i.ended(key) == "" {
			text += "\n  " + i.call(command)
		}
		texts = append(texts, text)
	}
	return texts
}

// remedies maps the codes of refusals despite a correct secret to what an admin can do. They
// are a summary of docs/errors.md.
var remedies = map[string]string{
	"wrong_kind": "the client sends an admin key to a gate. Give it an API key, and replace the admin key " +
		"if others may have seen it.",
	"expired_token": "the key has expired and can't be extended. Create a new key, or find out who still " +
		"uses this one.",
	"not_yet_valid": "the key wasn't valid yet. Clear its start if that is wrong.",
	"revoked_token": "someone still uses the revoked key. Find the client by its address and give it a new " +
		"key.",
	"disabled_token": "the key is disabled. Enable it if it should work.",
	"rate_limited":   "the client exceeds the rate limit. Raise the limit, or slow the client down.",
	"quota_exceeded": "the quota is used up. Raise it, or wait for the next period.",
	"too_early":      "the requests arrived as early data. Clients retry them automatically.",
	"body_too_large": "the bodies exceed max_body or max_upload in the configuration.",
	"body_timeout": "the bodies arrived too slowly. Raise body_timeout in the configuration if clients " +
		"really are that slow.",
	"overloaded": "the gate buffered too many bodies. Raise max_buffered in the configuration if this " +
		"happens often.",
	"ip_denied": "the client's address isn't allowed. If it is your own proxy's address, set " +
		"trusted_proxies in the configuration. Otherwise, allow it, or find out who uses the key.",
	"invalid_path": "the client spells the path in an unusual way. A common cause is a base address that " +
		"ends in a slash.",
	"unknown_token": "the key was deleted or rotated during the request.",
	"invalid_request": "the client sends more than one Authorization header, or a malformed one. Correct " +
		"the client.",

	"insufficient_scope": "the key lacks a scope. Add it, or correct the client.",
	"resource_not_allowed": "the request acts on something to which the key isn't bound. Add that to the key's " +
		"resources, or correct the client.",
	"ambiguous_target": "the client names what the request acts on in an unusual way. The response tells the " +
		"client what is wrong.",
	"route_not_allowed": "no key can be used on this path. Correct the path in the client, or add a route " +
		"line to the configuration.",
	"method_not_allowed": "the path doesn't support the method. A common cause is a redirect that turned a " +
		"POST into a GET.",
	"invalid_request_body": "the backend would not understand the body. The response tells the client what " +
		"is wrong.",
	"account_not_configured": "the key's account is missing from the configuration. Add it, or change the " +
		"key's account.",
	"store_unavailable": "the key store couldn't be read. `caddy api-token status` shows why.",
}

// commandFor returns a command that makes the refused requests work, or "".
func commandFor(key client.Token, code string, refusals []client.RefusedRequest) string {
	edit := "edit " + key.ID
	switch code {
	case "insufficient_scope":
		scopes := slices.Clone(key.Scopes)
		for _, r := range refusals {
			if r.Scope != "" && !slices.Contains(scopes, r.Scope) {
				scopes = append(scopes, r.Scope)
			}
		}
		if len(scopes) > len(key.Scopes) {
			return edit + flagged(" --scope ", scopes)
		}
	case "ip_denied":
		addresses := slices.Clone(key.AllowedIPs)
		for _, r := range refusals {
			if r.IP != "" && !slices.Contains(addresses, r.IP) {
				addresses = append(addresses, r.IP)
			}
		}
		if len(key.AllowedIPs) > 0 && len(addresses) > len(key.AllowedIPs) {
			return edit + flagged(" --allowed-ip ", addresses)
		}
	case "not_yet_valid":
		if key.Status == "not_yet_valid" {
			return edit + " --not-before none"
		}
	case "disabled_token":
		if key.Status == "disabled" {
			return "enable " + key.ID
		}
	case "rate_limited":
		if key.RateLimit != nil {
			return fmt.Sprintf("%s --rate-limit %d/%s", edit, 2*key.RateLimit.Requests, key.RateLimit.Window)
		}
	case "quota_exceeded":
		if key.Quota != nil {
			return fmt.Sprintf("%s --quota %d/%s", edit, 2*key.Quota.Requests, key.Quota.Period)
		}
	}
	return ""
}

// flagged repeats a flag for each value.
func flagged(flag string, values []string) string {
	var b strings.Builder
	for _, value := range values {
		b.WriteString(flag + quoted(value))
	}
	return b.String()
}
