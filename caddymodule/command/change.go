package command

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var editVerb = verb{
	command: cobra.Command{
		Use:   "edit <id>",
		Short: "Changes what a token may do, and until when",
		Long: `
Changes a token; the change is in force when the command is done. Only what is
given changes. An expired or revoked token isn't brought back to life, and no
secret lives longer than max_lifetime from when it was made: use rotate.

If somebody else changes the token at the same time, one of the two is told
(exit status 5) and nothing is lost.`,
		Example: `  $ caddy api-token edit 4fQ9Zt2LkVb7 --name "ci, staging" --expires-in 90d
  $ caddy api-token edit 4fQ9Zt2LkVb7 --scope unikernel:list --allowed-ip none
  $ caddy api-token edit 4fQ9Zt2LkVb7 --metadata team=infra --remove-metadata owner`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("name", "", "What the token is for")
		flags.String("account", "", "Account on whose behalf the token acts")
		flags.StringArray("scope", nil, "What it may do, in place of what it could (repeatable)")
		flags.String("preset", "", "Name of a set of scopes (instead of --scope)")
		flags.StringArray("allowed-ip", nil, "Address or range it may be used from (repeatable), or none for anywhere")
		flags.StringArray("metadata", nil, "Note of the form key=value, beside those there are (repeatable)")
		flags.StringArray("remove-metadata", nil, "Key of a note to remove (repeatable)")
		flags.String("not-before", "", "When it begins, such as 2030-01-01T00:00:00Z, or none")
		flags.String("expires-in", "", "How long it lives from now: 12h, 90d, 6mo, 2y, a number of seconds, or never")
		flags.String("expires-at", "", "When it ends, such as 2030-12-31T23:59:59Z (instead of --expires-in)")
		flags.String("rate-limit", "", "Requests in a time, such as 60/1m, or none")
		flags.String("quota", "", "Requests in a period, such as 10000/month, or none")
		outputFlag(flags, "table, json or id")
	},
	run: (*invocation).edit,
}

func (i *invocation) edit() error {
	id, err := i.oneID("edit")
	if err != nil {
		return err
	}
	form, err := i.output()
	if err != nil {
		return err
	}
	request, err := i.editRequest()
	if err != nil {
		return err
	}
	if len(request) == 0 {
		return usageErrorf("nothing is given that should change")
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	before, err := api.Get(i.ctx, id)
	if err != nil {
		return api.explain(err)
	}
	token, err := api.Edit(i.ctx, id, before.Version, request)
	if err != nil {
		return api.explain(err)
	}
	if token.Version == before.Version {
		i.tell("Nothing had to change.")
	}
	return i.showToken(form, token)
}

// none in place of a value removes what there is.
const none = "none"

// editRequest reads the flags that were given. What can be wrong with their
// meaning is left to the server.
func (i *invocation) editRequest() (client.EditRequest, error) {
	request := client.EditRequest{}
	for flag, member := range map[string]string{"name": "name", "account": "account", "preset": "preset"} {
		if i.flags.Changed(flag) {
			request[member] = i.flags.String(flag)
		}
	}
	if i.flags.Changed("expires-in") {
		request["expires_in"] = client.Lifetime(i.flags.String("expires-in"))
	}
	if i.flags.Changed("expires-at") {
		at, err := i.timeFlag("expires-at")
		if err != nil {
			return nil, err
		}
		request["expires_at"] = at
	}
	return request, errors.Join(
		i.editList(request, "scope", "scopes"),
		i.editList(request, "allowed-ip", "allowed_ips"),
		i.editMetadata(request),
		i.editOr(request, "not-before", "not_before", func() (any, error) { return i.timeFlag("not-before") }),
		i.editOr(request, "rate-limit", "rate_limit", func() (any, error) {
			requests, window, err := i.ratioFlag("rate-limit", "60/1m")
			return client.RateLimit{Requests: requests, Window: window}, err
		}),
		i.editOr(request, "quota", "quota", func() (any, error) {
			requests, period, err := i.ratioFlag("quota", "10000/month")
			return client.Quota{Requests: requests, Period: period}, err
		}))
}

func (i *invocation) editList(request client.EditRequest, flag, member string) error {
	if !i.flags.Changed(flag) {
		return nil
	}
	values, err := i.flags.GetStringArray(flag)
	if len(values) == 1 && values[0] == none {
		values = []string{}
	}
	request[member] = values
	return err
}

// editOr takes "none" for the removal of a member.
func (i *invocation) editOr(request client.EditRequest, flag, member string, read func() (any, error)) error {
	if !i.flags.Changed(flag) {
		return nil
	}
	if i.flags.String(flag) == none {
		request[member] = nil
		return nil
	}
	value, err := read()
	request[member] = value
	return err
}

func (i *invocation) editMetadata(request client.EditRequest) error {
	added, err := i.metadataFlag()
	if err != nil {
		return err
	}
	removed, err := i.flags.GetStringArray("remove-metadata")
	if err != nil || len(added)+len(removed) == 0 {
		return err
	}
	metadata := make(map[string]any, len(added)+len(removed))
	for key, value := range added {
		metadata[key] = value
	}
	for _, key := range removed {
		if _, twice := metadata[key]; twice {
			return usageErrorf("--remove-metadata: the key %q is also given with --metadata", key)
		}
		metadata[key] = nil
	}
	request["metadata"] = metadata
	return nil
}

var rotateVerb = verb{
	command: cobra.Command{
		Use:   "rotate <id>",
		Short: "Gives a token a new secret and prints it, this once",
		Long: `
Makes a new secret for a token under the same id. The old secret works on until
the grace is over, so that its users can change over without an outage; answers
to who still uses it carry a warning.

The token alone goes to standard output, as by create.`,
		Example: `  $ MOLLYGATE_KEY=$(caddy api-token rotate 4fQ9Zt2LkVb7)
  $ caddy api-token rotate 4fQ9Zt2LkVb7 --grace 7d --expires-in 1y
  $ caddy api-token rotate 4fQ9Zt2LkVb7 --grace 0s --yes   # the old secret is known to others`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("grace", "24h", "How long the old secret works on: 12h, 7d, a number of seconds; 0s is at once")
		flags.String("expires-in", "", "How long the new secret lives: 12h, 90d, 6mo, 2y, a number of seconds, or never (default as before)")
		flags.String("expires-at", "", "When it ends, such as 2030-12-31T23:59:59Z (instead of --expires-in)")
		flags.Bool("yes", false, "Don't ask, if the old secret stops at once")
		outputFlag(flags, "table: the token; json: the object with the token in it")
	},
	run: (*invocation).rotate,
}

func (i *invocation) rotate() error {
	id, err := i.oneID("rotate")
	if err != nil {
		return err
	}
	form, err := i.secretOutput()
	if err != nil {
		return err
	}
	request := client.RotateRequest{Grace: client.Lifetime(i.flags.String("grace")), ExpiresIn: client.Lifetime(i.flags.String("expires-in"))}
	if request.ExpiresAt, err = i.timeFlag("expires-at"); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if strings.Trim(string(request.Grace), "0") == "" || request.Grace == "0s" {
		if err := i.confirm(api, []string{id}, "Rotate it without a grace? Its present secret stops working at once."); err != nil {
			return err
		}
	}
	rotated, err := api.Rotate(i.ctx, id, request)
	if err != nil {
		err = api.explain(err)
		if unreachable, ok := errors.AsType[*unreachableError](err); ok && unreachable.sent() {
			unreachable.text += "; the token may have been rotated all the same, look at it with show"
		}
		return err
	}
	return i.handOver(form, rotated, "rotated", func() {
		until := "has stopped working"
		if end := rotated.PreviousValidUntil; !end.IsZero() {
			until = fmt.Sprintf("works until %s (%s)", end.Format(time.RFC3339), client.Relative(end, i.now()))
		}
		i.tell("Rotated %q (%s), which expires %s. The old secret %s. The new one can't be shown again.", rotated.Name, rotated.ID, i.end(rotated.Token), until)
	})
}

// handOver writes a secret to standard output, or says that it is lost.
func (i *invocation) handOver(form string, made client.Created, done string, told func()) error {
	text := made.Secret.Reveal()
	if form == outputJSON {
		text = printableJSON(made.JSON())
	}
	if _, err := io.WriteString(i.out, text+"\n"); err != nil {
		return fmt.Errorf("the token %s was %s but couldn't be written to standard output, so it is lost; delete it: %w", made.ID, done, err)
	}
	told()
	return nil
}

func stateVerb(use, short, long, done string, change func(*client.Client, *invocation, string) (client.Token, error), question string) verb {
	return verb{
		command: cobra.Command{Use: use, Short: short, Long: long},
		flags: func(flags *pflag.FlagSet) {
			if question != "" {
				flags.Bool("yes", false, "Don't ask")
			}
			if strings.HasPrefix(use, "revoke") {
				flags.Bool("wait", false, "Come back when no answer goes on that was begun with the token")
			}
		},
		run: func(i *invocation) error { return i.changeState(done, change, question) },
	}
}

var (
	disableVerb = stateVerb("disable <id>...", "Stops tokens from working until they are enabled", `
Stops tokens from working, at once, until they are enabled again.`,
		"Disabled", func(c *client.Client, i *invocation, id string) (client.Token, error) { return c.Disable(i.ctx, id) }, "")
	enableVerb = stateVerb("enable <id>...", "Lets disabled tokens work again", `
Lets disabled tokens work again. A revoked one stays revoked (exit status 5).`,
		"Enabled", func(c *client.Client, i *invocation, id string) (client.Token, error) { return c.Enable(i.ctx, id) }, "")
	revokeVerb = stateVerb("revoke <id>...", "Ends tokens for good", `
Ends tokens for good. They stop working at once and stay listed. No request that
begins after the command is done passes; answers that go on (event streams,
downloads, websockets) are ended within a second, which --wait waits for.

On a terminal it asks first; elsewhere --yes is needed.`,
		"Revoked", func(c *client.Client, i *invocation, id string) (client.Token, error) { return c.Revoke(i.ctx, id) },
		"Revoke %d? They stop working at once, for good.")
)

// answersEnd is how long the server takes to end answers of a token that is no
// longer valid.
const answersEnd = time.Second

func (i *invocation) changeState(done string, change func(*client.Client, *invocation, string) (client.Token, error), question string) error {
	ids, err := i.ids()
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if question != "" {
		if err := i.confirm(api, ids, fmt.Sprintf(question, len(ids))); err != nil {
			return err
		}
	}
	err = i.each(ids, func(id string) error {
		token, err := change(api.Client, i, id)
		if err != nil {
			return api.explain(err)
		}
		i.tell("%s %s %q, which is %s now.", done, id, token.Name, token.Status)
		return nil
	})
	if err == nil && i.flags.Lookup("wait") != nil && i.flags.Bool("wait") {
		select {
		case <-i.after(answersEnd):
		case <-i.ctx.Done():
			return i.ctx.Err()
		}
	}
	return err
}

// each does something to one token after the other. One that isn't there, or isn't
// in the right state, doesn't hinder the next.
func (i *invocation) each(ids []string, do func(id string) error) error {
	var failed []error
	for _, id := range ids {
		err := do(id)
		switch exitCode(err) {
		case exitOK:
		case exitNotFound, exitConflict:
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
		default:
			// The next would fail for the same reason.
			return errors.Join(append(failed, fmt.Errorf("%s: %w", id, err))...)
		}
	}
	return errors.Join(failed...)
}
