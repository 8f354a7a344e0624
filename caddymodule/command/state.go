package command

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

func stateVerb(use, short, long, done string, change func(*client.Client, *invocation, string) (client.Token, error),
	question string) verb {
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
Stops tokens from working immediately, until they are enabled again.`,
		"Disabled", func(c *client.Client, i *invocation, id string) (client.Token,
			error) {
			return c.Disable(i.ctx, id)
		}, "")
	enableVerb = stateVerb("enable <id>...", "Lets disabled tokens work again", `
Lets disabled tokens work again. A revoked one stays revoked (exit status 5).`,
		"Enabled", func(c *client.Client, i *invocation, id string) (client.Token,
			error) {
			return c.Enable(i.ctx, id)
		}, "")
	revokeVerb = stateVerb("revoke <id>...", "Revokes tokens permanently", `
Revokes tokens permanently. They stop working immediately and stay listed. No request that
begins after the command is done passes; answers that go on (event streams,
downloads, websockets) are ended within a second, which --wait waits for.

On a terminal it asks first; elsewhere --yes is needed.`,
		"Revoked", func(c *client.Client, i *invocation, id string) (client.Token,
			error) {
			return c.Revoke(i.ctx, id)
		},
		"Revoke %d? They stop working immediately and can't be enabled again.")
)

// answersEnd is how long the server takes to end answers of a token that is no
// longer valid.
const answersEnd = time.Second

func (i *invocation) changeState(done string, change func(*client.Client, *invocation, string) (client.Token, error),
	question string) error {
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

// each does something to one token after the other. It goes on after a token that
// isn't there or isn't in the right state.
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
