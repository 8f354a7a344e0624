package command

import (
	"context"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var completionVerb = verb{
	command: cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Prints a shell completion script for caddy",
		Long: `
Prints the completion script for the whole caddy command, like 'caddy completion'.
In addition to commands and flags, it completes the IDs and names of API keys,
scopes, presets and accounts while Caddy is running.`,
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
	if strings.Contains(caddy.CustomBinaryName, " ") {
		return usageErrorf("shells can't complete the arguments of %s; install Caddy with Mollygate to use completion",
			caddy.CustomBinaryName)
	}
	if len(i.args) != 1 || scripts[i.args[0]] == nil {
		return usageErrorf("pass the name of a shell: bash, zsh, fish or powershell")
	}
	return scripts[i.args[0]](i.root, i.out)
}

// complete adds shell completion for the values of a verb's flags, and for its arguments if
// they name API keys.
func complete(cmd *cobra.Command, c *console) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		var suggest func(i *invocation, prefix string) []string
		switch values := f.Annotations; {
		case values[oneOf] != nil:
			suggest = func(*invocation, string) []string { return values[oneOf] }
		case values[severalOf] != nil:
			suggest = func(_ *invocation, prefix string) []string {
				begin := prefix[:strings.LastIndexByte(prefix, ',')+1]
				var lists []string
				for _, value := range values[severalOf] {
					lists = append(lists, begin+value)
				}
				return lists
			}
		default:
			if suggest = suggestions[f.Name]; suggest == nil {
				return
			}
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, completionFunc(c, suggest)) // can't fail: the flag exists
	})
	switch {
	case strings.Contains(cmd.Use, keyArgument):
		cmd.ValidArgsFunction = completionFunc(c, suggestKeys)
	case cmd.ValidArgs == nil && !fileArgument.MatchString(cmd.Use):
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
}

// keyArgument is how verbs write an argument that names an API key.
const keyArgument = "<id|hint|name>"

// fileArgument matches arguments that the shell completes as file names.
var fileArgument = regexp.MustCompile(`<(file|path|backup)`)

// suggestions returns the values of flags that depend on the configuration or on the keys.
var suggestions = map[string]func(i *invocation, prefix string) []string{
	"token-id": suggestKeys,
	"preset":   func(i *invocation, _ string) []string { return i.catalog().Presets() },
	"scope":    func(i *invocation, _ string) []string { return i.catalog().Grants() },
	"account":  func(i *invocation, _ string) []string { return i.catalog().Accounts },
}

// completionTime is how long the shell waits for suggestions from Caddy.
const completionTime = time.Second

// completionFunc returns a completion function that suggests values with the prefix. If Caddy
// doesn't respond, there are no suggestions.
func completionFunc(c *console, suggest func(*invocation, string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completionTime)
		defer cancel()
		i := newInvocation(c, cmd, args)
		i.ctx = ctx
		all := make(chan []string, 1)
		go func() { all <- suggest(i, prefix) }() // may wait for a configuration file that is a pipe
		var matching []string
		select {
		case values := <-all:
			for _, value := range values {
				if strings.HasPrefix(value, prefix) {
					matching = append(matching, value)
				}
			}
		case <-ctx.Done():
		}
		return matching, cobra.ShellCompDirectiveNoFileComp
	}
}

// suggestKeys suggests IDs, described by names. If the user has begun to write a name, it
// suggests names, described by IDs.
func suggestKeys(i *invocation, prefix string) []string {
	query := client.ListQuery{Limit: client.MaxPage}
	if !keyLike.MatchString(prefix) {
		query.Q = prefix
	}
	api, err := i.client()
	if err != nil {
		return nil
	}
	page, _ := api.List(i.ctx, query) // without a response, there are no suggestions
	var found []string
	for _, t := range page.Tokens {
		id, name := printable(t.ID), printable(t.Name)
		found = append(found, cobra.CompletionWithDesc(id, name))
		if prefix != "" && name == t.Name {
			found = append(found, cobra.CompletionWithDesc(name, id))
		}
	}
	return found
}

// catalog returns what the configuration defines, or nothing if Caddy doesn't respond.
func (i *invocation) catalog() client.Catalog {
	api, err := i.client()
	if err != nil {
		return client.Catalog{}
	}
	catalog, _ := api.Catalog(i.ctx)
	return catalog
}
