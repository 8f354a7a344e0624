package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/token"
)

var createVerb = verb{
	command: cobra.Command{
		Use:        "create --name <name> --expires-in <time> --preset <name>|--scope <scope>...",
		SuggestFor: []string{"new", "add"},
		Short:      "Creates an API key and prints it once",
		Long: `
Creates an API key. Only the key goes to standard output, so that a script can
store it in a variable. It can't be shown again.

Without flags, the command asks for the settings if it runs in a terminal.
'caddy api-token scopes' lists the scopes and presets.`,
		Example: `  $ MOLLYGATE_KEY=$(caddy api-token create --name ci --expires-in 90d --preset deploy)
  $ caddy api-token create --name ops --kind admin --expires-in 12h
  $ caddy api-token create --name reports --expires-at 2030-12-31T23:59:59Z \
      --scope unikernel:list --allowed-ip 203.0.113.0/24
  $ caddy api-token create --name webshop --expires-in 90d --preset deploy --resource 'unikernel/webshop-*'`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("name", "", "What the key is for")
		flags.String("kind", "", "api: calls the backend; admin: manages keys (default api)")
		flags.String("account", "", "Account that the key acts for (default default)")
		flags.String("expires-in", "", "Lifetime: "+lifetimeUsage)
		flags.String("expires-at", "", "When the key expires, such as 2030-12-31T23:59:59Z (instead of --expires-in)")
		flags.String("not-before", "", "When the key becomes valid, such as 2030-01-01T00:00:00Z")
		flags.StringArray("scope", nil, "Scope of the key, such as unikernel:create, unikernel:* or * (repeatable)")
		flags.String("preset", "", "Named set of scopes (instead of --scope)")
		flags.StringArray("resource", nil,
			"Resource that the key may act on, such as unikernel/web-* (repeatable; default: everything)")
		flags.StringArray("allowed-ip", nil, "IP address or range that may use the key (repeatable)")
		flags.String("rate-limit", "", "Rate limit: requests per time window, such as 60/1m")
		flags.String("quota", "", "Quota: requests per calendar period, such as 10000/month")
		flags.StringArray("metadata", nil, "Metadata in the form key=value (repeatable)")
		choose(flags, "kind", "api", "admin")
		secretOutputFlag(flags)
	},
	run: (*invocation).create,
}

func (i *invocation) create() error {
	if len(i.args) > 0 {
		return usageErrorf("create takes only flags; set the name with --name")
	}
	ask := i.interactive && i.noSettings()
	if ask {
		if err := i.askSettings(); err != nil {
			return err
		}
	}
	request, err := i.createRequest()
	if err := errors.Join(i.missing(), err); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	// With an idempotency key, it is safe to repeat a request whose response was lost.
	request.IdempotencyKey = rand.Text()
	created, err := api.Create(i.ctx, request)
	if _, lost := errors.AsType[*client.TransportError](err); lost {
		created, err = api.Create(i.ctx, request)
	}
	if err != nil {
		err = i.suggest(api, api.explain(err))
		if unreachable, ok := errors.AsType[*unreachableError](err); ok && unreachable.sent() {
			unreachable.text += fmt.Sprintf("; the key may have been created anyway: check with `%s`", i.call("list"))
		}
		return err
	}
	if created.Replayed {
		return fmt.Errorf("API key %s was created, but the response with its secret was lost; create a new secret "+
			"with `%s`", created.ID, i.call("rotate "+created.ID+" --grace 0s --yes"))
	}
	return i.printSecret(created, "created", func() {
		i.message("Created %s key %s, %s. This is the only time it is shown.", kindName(created.Kind),
			created.Token, i.expiry(created.Token))
		if created.Kind != "admin" {
			i.message("%s", rights(created.Token))
		}
		i.noteSameName(api, created.Token)
		if ask {
			i.message("The same without questions: %s", i.sameCommand())
		}
	})
}

// rights returns a sentence that says what a key may do.
func rights(t client.Token) string {
	text := "Scopes: " + fewOf(t.Scopes)
	if len(t.Resources) > 0 {
		text += ". Only for: " + fewOf(t.Resources)
	}
	return text + "."
}

// fewOf joins the first elements of a list.
func fewOf(all []string) string {
	const most = 6
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most-1], ", "), len(all)-most+1)
}

// noteTime limits how long a command looks for facts that it can do without.
const noteTime = 2 * time.Second

// noteSameName tells people if another active key has the new key's name. Scripts don't need to
// know, and with a million keys, the search takes seconds.
func (i *invocation) noteSameName(api *endpointClient, created client.Token) {
	if !i.interactive {
		return
	}
	ctx, cancel := context.WithTimeout(i.ctx, noteTime)
	defer cancel()
	query := client.ListQuery{Limit: client.MaxPage, Q: created.Name, Status: "active"}
	page, _ := api.List(ctx, query) // without a response, there is no note
	for _, t := range page.Tokens {
		if t.Name == created.Name && t.ID != created.ID {
			i.message("Another active key has the same name (%s), so select these keys by their IDs.", t.ID)
			return
		}
	}
}

// expiry returns a phrase that says when a token expires.
func (i *invocation) expiry(t client.Token) string {
	if t.ExpiresAt.IsZero() {
		return "never expires"
	}
	return fmt.Sprintf("expires %s (%s)", rfc3339(t.ExpiresAt), relative(t.ExpiresAt, i.now()))
}

// kindName returns a token kind's name for messages.
func kindName(kind string) string {
	if kind == "api" {
		return "API"
	}
	return kind
}

// secretOutputFlag declares --output for commands that show a secret only once. There is no
// id, because it would lose the secret.
func secretOutputFlag(flags *pflag.FlagSet) {
	outputFlag(flags, "table: only the key; json: the object that contains the key", outputTable, outputJSON)
}

// missing returns an error that names all required flags that aren't set.
func (i *invocation) missing() error {
	var missing []error
	set := func(names ...string) bool { return slices.ContainsFunc(names, i.flags.Changed) }
	if !set("name") {
		missing = append(missing, usageErrorf("--name: is required: say what the key is for"))
	}
	if !set("expires-in", "expires-at") {
		missing = append(missing, usageErrorf("--expires-in: is required, for example 90d; or give --expires-at"))
	}
	if !set("scope", "preset") && i.flags.String("kind") != "admin" {
		missing = append(missing, usageErrorf("--scope: give at least one scope, or a --preset"))
	}
	return errors.Join(missing...)
}

// createRequest builds the request from the flags. The error names all values that can't be
// parsed. The server validates the rest.
func (i *invocation) createRequest() (client.CreateRequest, error) {
	request := client.CreateRequest{
		Name:      i.flags.String("name"),
		Kind:      i.flags.String("kind"),
		Account:   i.flags.String("account"),
		ExpiresIn: client.Lifetime(i.flags.String("expires-in")),
		Preset:    i.flags.String("preset"),
	}
	var wrong [9]error
	wrong[0] = i.lifetimeFlag("expires-in")
	request.Scopes, wrong[1] = i.listFlag("scope")
	request.Resources, wrong[8] = i.listFlag("resource")
	request.AllowedIPs, wrong[2] = i.listFlag("allowed-ip")
	request.ExpiresAt, wrong[3] = i.timeFlag("expires-at")
	request.NotBefore, wrong[4] = i.timeFlag("not-before")
	request.Metadata, wrong[5] = i.metadataFlag()
	if requests, window, err := i.ratioFlag("rate-limit", "60/1m"); err != nil {
		wrong[6] = err
	} else if window != "" {
		request.RateLimit = &client.RateLimit{Requests: requests, Window: window}
	}
	if requests, period, err := i.ratioFlag("quota", "10000/month"); err != nil {
		wrong[7] = err
	} else if period != "" {
		request.Quota = &client.Quota{Requests: requests, Period: period}
	}
	return request, errors.Join(wrong[:]...)
}

// lifetimeUsage is the usage of flags with a lifetime.
const lifetimeUsage = "12h, 90d, 6mo, 2y, a number of seconds, or never"

// noteUnit says that a number without a unit is in seconds if days were probably meant.
func (i *invocation) noteUnit(name string) {
	const most = 1000 // seconds
	text := strings.TrimLeft(i.flags.String(name), "0")
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && n < most {
		i.message("Note: --%s %s means %[2]s seconds; write %[2]sd for days.", name, text)
	}
}

// lifetimeFlag returns an error if a flag with a lifetime can't be parsed.
func (i *invocation) lifetimeFlag(name string) error {
	i.noteUnit(name)
	return checkLifetime(name, i.flags.String(name))
}

func checkLifetime(name, text string) error {
	if text == "" || text == "never" || strings.Trim(text, "0123456789") == "" {
		return nil
	}
	if _, err := token.ParseLifetime(text); err != nil {
		return usageErrorf("--%s: %v", name, err)
	}
	return nil
}

// listFlag returns the values of a repeatable flag. No value contains a comma.
func (i *invocation) listFlag(name string) ([]string, error) {
	values, err := i.flags.GetStringArray(name)
	for _, value := range values {
		if strings.Contains(value, ",") {
			elements := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
			what := name
			if name == "allowed-ip" {
				what = "address"
			}
			return nil, usageErrorf("--%[1]s: repeat --%[1]s for each %[2]s:%[3]s", name, what,
				flagged(" --"+name+" ", elements))
		}
	}
	return values, err
}

func (i *invocation) timeFlag(name string) (time.Time, error) {
	text := i.flags.String(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usageErrorf("--%s: write a time with a time zone, for example 2030-12-31T23:59:59Z", name)
	}
	return t, nil
}

// ratioFlag parses "number/unit".
func (i *invocation) ratioFlag(name, example string) (int64, string, error) {
	text := i.flags.String(name)
	if text == "" {
		return 0, "", nil
	}
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || unit == "" {
		return 0, "", usageErrorf("--%s: write, for example, %s", name, example)
	}
	return n, unit, nil
}

func (i *invocation) metadataFlag() (map[string]string, error) {
	pairs, err := i.flags.GetStringArray("metadata")
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	metadata := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usageErrorf("--metadata: write key=value")
		}
		if _, twice := metadata[key]; twice {
			return nil, usageErrorf("--metadata: the key %q is specified twice", key)
		}
		metadata[key] = value
	}
	return metadata, nil
}
