package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

// stateVerb returns a verb that changes the state of keys. done is its past tense.
func stateVerb(use, short, long, done string, change func(*client.Client, context.Context, string) (client.Token,
	error)) verb {
	return verb{
		command: cobra.Command{Use: use, Short: short, Long: long},
		flags:   func(*pflag.FlagSet) {},
		run: func(i *invocation) error {
			if err := i.checkNames(i.args...); err != nil {
				return err
			}
			api, keys, err := i.keys()
			if err != nil {
				return err
			}
			return i.each(keys, func(k key) error {
				token, err := change(api.Client, i.ctx, k.ID)
				if err != nil {
					return api.explain(err)
				}
				i.message("%s %s. Status: %s.", done, token, token.Status)
				return nil
			})
		},
	}
}

var (
	disableVerb = stateVerb("disable <id|hint|name>...", "Disables API keys until they are enabled again", `
Disables API keys. They stop working immediately, until they are enabled again.`,
		"Disabled", (*client.Client).Disable)
	enableVerb = stateVerb("enable <id|hint|name>...", "Enables disabled API keys", `
Makes disabled API keys work again. Revoked keys can't be enabled (exit status 5).`,
		"Enabled", (*client.Client).Enable)
)

// each calls do for each token in turn. If a token doesn't exist or has the wrong status, each
// continues with the next one.
func (i *invocation) each(keys []key, do func(key) error) error {
	var failed []error
	for _, k := range keys {
		err := do(k)
		switch exitCode(err) {
		case exitOK:
		case exitNotFound, exitConflict:
			failed = append(failed, fmt.Errorf("%s: %w", k.ID, err))
		default:
			// All remaining tokens would fail for the same reason.
			return errors.Join(append(failed, fmt.Errorf("%s: %w", k.ID, err))...)
		}
	}
	return errors.Join(failed...)
}
