package command

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var lookupVerb = verb{
	command: cobra.Command{
		Use:   "lookup",
		Short: "Finds the token that a secret belongs to",
		Long: `
Reads a whole token from standard input, or from a file, and shows the token it
belongs to. It is never an argument, because arguments show in process lists and
shell histories.`,
		Example: `  $ caddy api-token lookup < leaked.txt
  $ pass show ci/mollymawk | caddy api-token lookup -o id`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("token-file", "-", tokenFileUsage)
		outputFlag(flags, "table, json or id")
	},
	run: (*invocation).lookup,
}

func (i *invocation) lookup() error {
	if len(i.args) > 0 {
		return usageErrorf("lookup takes flags only; the token is read from standard input or --token-file")
	}
	form, err := i.output()
	if err != nil {
		return err
	}
	secret, err := i.secretFrom(i.flags.String("token-file"))
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	token, err := api.Lookup(i.ctx, secret)
	if err != nil {
		return api.explain(err)
	}
	return i.showToken(form, token)
}
