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
				flags.Bool("yes", false, "Don't ask for confirmation")
			}
			if strings.HasPrefix(use, "revoke") {
				flags.Bool("wait", false, "Wait until all responses to requests with the key have ended")
			}
		},
		run: func(i *invocation) error { return i.changeState(done, change, question) },
	}
}

var (
	disableVerb = stateVerb("disable <id>...", "Disables API keys until they are enabled again", `
Disables API keys. They stop working immediately, until they are enabled again.`,
		"Disabled", func(c *client.Client, i *invocation, id string) (client.Token,
			error) {
			return c.Disable(i.ctx, id)
		}, "")
	enableVerb = stateVerb("enable <id>...", "Enables disabled API keys", `
Makes disabled API keys work again. Revoked keys can't be enabled (exit status 5).`,
		"Enabled", func(c *client.Client, i *invocation, id string) (client.Token,
			error) {
			return c.Enable(i.ctx, id)
		}, "")
	revokeVerb = stateVerb("revoke <id>...", "Revokes API keys permanently", `
Revokes API keys permanently. They stop working immediately and stay listed. Once
the command returns, no new request with them passes. Running responses (event
streams, downloads, websockets) end within a second; --wait waits for that.

On a terminal, the command asks for confirmation. Elsewhere, add --yes.`,
		"Revoked", func(c *client.Client, i *invocation, id string) (client.Token,
			error) {
			return c.Revoke(i.ctx, id)
		},
		"Revoke %s? Requests are refused immediately, and this can't be undone.")
)

// responsesEnd is how long the server may take to end a token's responses once the token is no
// longer valid.
const responsesEnd = time.Second

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
		if err := i.confirm(api, ids, fmt.Sprintf(question, countKeys(len(ids)))); err != nil {
			return err
		}
	}
	err = i.each(ids, func(id string) error {
		token, err := change(api.Client, i, id)
		if err != nil {
			return api.explain(err)
		}
		i.message("%s %q (%s). Status: %s.", done, token.Name, id, token.Status)
		return nil
	})
	if err == nil && i.flags.Lookup("wait") != nil && i.flags.Bool("wait") {
		select {
		case <-i.after(responsesEnd):
		case <-i.ctx.Done():
			return i.ctx.Err()
		}
	}
	return err
}

// each calls do for each token in turn. If a token doesn't exist or has the wrong status, each
// continues with the next one.
func (i *invocation) each(ids []string, do func(id string) error) error {
	var failed []error
	for _, id := range ids {
		err := do(id)
		switch exitCode(err) {
		case exitOK:
		case exitNotFound, exitConflict:
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
		default:
			// All remaining tokens would fail for the same reason.
			return errors.Join(append(failed, fmt.Errorf("%s: %w", id, err))...)
		}
	}
	return errors.Join(failed...)
}
