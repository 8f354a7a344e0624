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

If several gates share the key store, --wait also waits until all of them have
confirmed the change. If any hasn't within 10 seconds, the exit status is 6, and
the keys may still work there.

On a terminal, the command shows when, where and by what each key was last used,
and asks for confirmation. Elsewhere, add --yes.`,
		Example: `  $ caddy api-token revoke 4fQ9Zt2LkVb7 --yes --wait
  $ caddy api-token revoke "release bot"`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Bool("yes", false, "Don't ask for confirmation")
		flags.Bool("wait", false,
			"Wait until all gates have confirmed it, and all responses to requests with the key have ended")
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
		return i.waitAtGates(api) // an earlier --wait may have ended too early
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
	if err != nil {
		return err
	}
	return i.waitAtGates(api)
}

// waitAtGates waits, if --wait was given, until the changes made so far are in force at all gates
// and have ended responses there.
func (i *invocation) waitAtGates(api *endpointClient) error {
	if !i.flags.Bool("wait") {
		return nil
	}
	confirmed := i.confirmAtGates(api)
	select {
	case <-i.after(responsesEnd):
	case <-i.ctx.Done():
		return i.ctx.Err()
	}
	return confirmed
}

// confirmAtGates waits until all gates that share the store have confirmed the changes made so
// far. If any hasn't, it names them.
func (i *invocation) confirmAtGates(api *endpointClient) error {
	confirmation, err := api.Confirm(i.ctx)
	if err != nil {
		return api.explain(err)
	}
	missing := confirmation.Missing
	switch {
	case confirmation.Gates == 0: // the store isn't shared
		return nil
	case len(missing) == 0 && confirmation.Gates == 1:
		i.message("The only gate has confirmed it.")
		return nil
	case len(missing) == 0:
		i.message("All %d gates have confirmed it.", confirmation.Gates)
		return nil
	}
	i.message("%d of %d gates haven't confirmed it, so the keys may still work there:", len(missing),
		confirmation.Gates)
	for _, n := range missing {
		seen := "never seen"
		if !n.LastSeenAt.IsZero() {
			seen = "last seen " + ago(n.LastSeenAt, i.now())
		}
		i.message("  %s  %s, %s", n.ID, n.Name, seen)
	}
	return exitError(exitUnreachable)
}
