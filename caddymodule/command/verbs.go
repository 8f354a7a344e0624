package command

import (
	"context"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// verb is a subcommand of "caddy api-token".
type verb struct {
	// command contains the help text.
	command cobra.Command
	// flags declares the verb's own flags.
	flags func(*pflag.FlagSet)
	run   func(*invocation) error
}

// invocation is a single run of a verb.
type invocation struct {
	*console
	ctx   context.Context // canceled when the run ends
	flags caddycmd.Flags
	args  []string
	root  *cobra.Command // caddy itself
}

// addVerbs turns cmd into the "api-token" command. It prints all errors in one place and uses
// the same exit code for all usage errors, because cobra and Caddy would each handle them
// differently.
func addVerbs(cmd *cobra.Command, c *console) {
	cmd.SetOut(c.out)
	cmd.SetErr(c.err)
	cmd.Args = cobra.ArbitraryArgs
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return c.exit(cmd, usageErrorf("%v", err))
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.exit(cmd, usageErrorf("missing command"))
		}
		return c.exit(cmd, usageErrorf("unknown command %q", args[0]))
	}
	for _, v := range []verb{
		createVerb, listVerb, showVerb, lookupVerb, editVerb, rotateVerb, disableVerb, enableVerb, revokeVerb,
		deleteVerb,
		usageVerb, auditVerb, explainVerb, importVerb, backupVerb, restoreVerb, checkVerb, repairVerb, compactVerb,
		clockVerb, scanVerb, completionVerb,
	} {
		cmd.AddCommand(v.cobra(c))
	}
}

func (v verb) cobra(c *console) *cobra.Command {
	cmd := v.command
	if caddy.CustomBinaryName != "" {
		cmd.Example = strings.ReplaceAll(cmd.Example, "caddy api-token", caddy.CustomBinaryName+" api-token")
	}
	cmd.Args = cobra.ArbitraryArgs
	v.flags(cmd.Flags())
	cmd.Flags().String("address", "", "Address of Caddy's admin endpoint (without --config)")
	cmd.Flags().StringP("config", "c", "",
		"Configuration file with the admin endpoint's address (without --address)")
	cmd.Flags().StringP("adapter", "a", "", "Name of the config adapter (with --config)")
	complete(&cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := refuseSecrets(cmd.Flags(), args)
		if err == nil {
			err = v.run(&invocation{console: c, ctx: cmd.Context(), flags: caddycmd.Flags{FlagSet: cmd.Flags()},
				args: args, root: cmd.Root()})
		}
		return c.exit(cmd, err)
	}
	return &cmd
}
