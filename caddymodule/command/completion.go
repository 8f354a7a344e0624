package command

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var completionVerb = verb{
	command: cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Prints a shell completion script for caddy",
		Long: `
Prints the completion script for the whole caddy command, like 'caddy completion'.`,
		Example:   `  $ source <(caddy api-token completion bash)`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
	},
	flags: func(*pflag.FlagSet) {},
	run:   (*invocation).completion,
}

func (i *invocation) completion() error {
	scripts := map[string]func(*cobra.Command, io.Writer) error{
		"bash":       func(root *cobra.Command, out io.Writer) error { return root.GenBashCompletionV2(out, true) },
		"zsh":        (*cobra.Command).GenZshCompletion,
		"fish":       func(root *cobra.Command, out io.Writer) error { return root.GenFishCompletion(out, true) },
		"powershell": (*cobra.Command).GenPowerShellCompletionWithDesc,
	}
	if len(i.args) != 1 || scripts[i.args[0]] == nil {
		return usageErrorf("pass the name of a shell: bash, zsh, fish or powershell")
	}
	return scripts[i.args[0]](i.root, i.out)
}

// choices holds the values of flags that accept only a fixed set.
var choices = map[string][]string{
	"output": {outputTable, outputJSON, outputID},
	"kind":   {"api", "admin"},
	"status": {"active", "expiring", "expired", "not_yet_valid", "disabled", "revoked", "damaged"},
	"sort": {"created_at", "-created_at", "expires_at", "-expires_at", "name", "-name", "last_used_at",
		"-last_used_at", "usage_count", "-usage_count"},
	"action": {"create", "edit", "rotate", "revoke", "disable", "enable", "delete", "import", "accept clock", "compact",
		"repair"},
}

// complete adds shell completion for the values of a verb's flags.
func complete(cmd *cobra.Command) {
	for name, values := range choices {
		if cmd.Flags().Lookup(name) == nil {
			continue
		}
		_ = cmd.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, _ []string, prefix string) ([]string,
			cobra.ShellCompDirective) {
			var matching []string
			for _, value := range values {
				if strings.HasPrefix(value, prefix) {
					matching = append(matching, value)
				}
			}
			return matching, cobra.ShellCompDirectiveNoFileComp
		}) // can't fail: the flag exists and has no other completion function
	}
}
