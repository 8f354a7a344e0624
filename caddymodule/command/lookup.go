package command

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var lookupVerb = verb{
	command: cobra.Command{
		Use:   "lookup",
		Short: "Finds the ID of an API key",
		Long: `
Reads a whole API key from standard input or a file, and shows which key it is.
Never pass the key as an argument, because arguments appear in process lists and
shell histories.`,
		Example: `  $ caddy api-token lookup < leaked.txt
  $ pass show ci/mollymawk | caddy api-token lookup -o id`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("token-file", "-", tokenFileUsage)
		keyOutputFlag(flags)
	},
	run: (*invocation).lookup,
}

func (i *invocation) lookup() error {
	if len(i.args) > 0 {
		return usageErrorf("lookup takes only flags; it reads the key from standard input or --token-file")
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
	return i.showToken(token)
}
