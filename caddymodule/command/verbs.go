package command

import (
	"context"

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

// group is a group of verbs in the help text.
type group struct {
	title string
	verbs []verb
}

var groups = []group{
	{"Create and change keys:", []verb{createVerb, editVerb, rotateVerb, disableVerb, enableVerb, revokeVerb,
		deleteVerb, importVerb}},
	{"Find and inspect keys:", []verb{listVerb, showVerb, lookupVerb, scanVerb, explainVerb, whoamiVerb, scopesVerb}},
	{"Health, usage and audit:", []verb{statusVerb, nodesVerb, usageVerb, refusalsVerb, auditVerb}},
	{"The key store:", []verb{backupVerb, checkVerb, restoreVerb, repairVerb, compactVerb, clockVerb,
		clusterVerb}},
	{"More:", []verb{openVerb, completionVerb}},
}

// Names returns the names of the subcommands of "caddy api-token".
func Names() (names []string) {
	for _, g := range groups {
		for _, v := range g.verbs {
			names = append(names, v.command.Name())
		}
	}
	return names
}

// invocation is a single run of a verb.
type invocation struct {
	*console
	ctx   context.Context // canceled when the run ends
	flags caddycmd.Flags
	args  []string
	// command is the verb with its parents: "caddy api-token show".
	command string
	root    *cobra.Command // caddy itself
}

func newInvocation(c *console, cmd *cobra.Command, args []string) *invocation {
	return &invocation{console: c, ctx: cmd.Context(), flags: caddycmd.Flags{FlagSet: cmd.Flags()}, args: args,
		command: commandPath(cmd), root: cmd.Root()}
}

// addVerbs turns cmd into the "api-token" command. It prints all errors in one place and uses
// the same exit code for all usage errors, because cobra and Caddy would each handle them
// differently.
func addVerbs(cmd *cobra.Command, c *console) {
	cmd.SetOut(c.out)
	cmd.SetErr(c.err)
	cmd.SetUsageTemplate(usageTemplate)
	cmd.SetHelpTemplate(helpTemplate)
	cmd.Args = cobra.ArbitraryArgs
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return c.exit(cmd, unknownFlag(cmd.Flags(), err))
	})
	for _, g := range groups {
		cmd.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, v := range g.verbs {
			sub := v.cobra(c)
			sub.GroupID = g.title
			cmd.AddCommand(sub)
		}
	}
	// Without a verb, there is nothing that defines the flags.
	cmd.DisableFlagParsing = true
	cmd.RunE = c.withoutVerb
}

func (v verb) cobra(c *console) *cobra.Command {
	cmd := v.command
	cmd.Long, cmd.Example = ownName(cmd.Long), ownName(cmd.Example)
	cmd.Args = cobra.ArbitraryArgs
	v.flags(cmd.Flags())
	cmd.Flags().String("address", "", "Address of Caddy's admin endpoint (without --config)")
	cmd.Flags().StringP("config", "c", "",
		"Configuration file with the admin endpoint's address (without --address)")
	cmd.Flags().StringP("adapter", "a", "", "Name of the config adapter (with --config)")
	complete(&cmd, c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := refuseSecrets(cmd.Flags(), args)
		if err == nil {
			err = checkChoices(cmd.Flags())
		}
		if err == nil {
			err = v.run(newInvocation(c, cmd, args))
		}
		return c.exit(cmd, err)
	}
	return &cmd
}
