package command

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var revokeVerb = verb{
	command: cobra.Command{
		Use:   "revoke <id|hint|name>...",
		Short: "Revokes API keys permanently",
		Long: `
Revokes API keys permanently. They stop working immediately and stay listed. Once
the command returns, no new request with them passes. Running responses (event
streams, downloads, websockets) end within a second; --wait waits for that.

On a terminal, the command shows when, where and by what each key was last used,
and asks for confirmation. Elsewhere, add --yes.`,
		Example: `  $ caddy api-token revoke 4fQ9Zt2LkVb7 --yes --wait
  $ caddy api-token revoke "release bot"`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Bool("yes", false, "Don't ask for confirmation")
		flags.Bool("wait", false, "Wait until all responses to requests with the key have ended")
	},
	run: (*invocation).revoke,
}

// responsesEnd is how long the server may take to end a key's responses once the key is no
// longer valid.
const responsesEnd = time.Second

func (i *invocation) revoke() error {
	if err := errors.Join(i.checkNames(i.args...), i.canConfirm()); err != nil {
		return err
	}
	api, keys, err := i.keys()
	if err != nil {
		return err
	}
	var valid []key
	for _, k := range keys {
		if k.RevokedAt.IsZero() {
			valid = append(valid, k)
			continue
		}
		i.message("%s was already revoked %s.", k, ago(k.RevokedAt, i.now()))
	}
	if len(valid) == 0 {
		return nil
	}
	if err := i.confirm(valid, "Revoke %s? It stops working immediately and can't be enabled again.",
		"Revoke %s? They stop working immediately and can't be enabled again."); err != nil {
		return err
	}
	err = i.each(valid, func(k key) error {
		token, err := api.Revoke(i.ctx, k.ID)
		if err != nil {
			return api.explain(err)
		}
		i.message("Revoked %s.", token)
		return nil
	})
	if err == nil && i.flags.Bool("wait") {
		select {
		case <-i.after(responsesEnd):
		case <-i.ctx.Done():
			return i.ctx.Err()
		}
	}
	return err
}
