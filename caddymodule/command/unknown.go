package command

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// withoutVerb runs "api-token" with arguments in which cobra found no verb. They include flags.
func (c *console) withoutVerb(cmd *cobra.Command, args []string) error {
	n := verbIndex(cmd, args)
	help := slices.ContainsFunc(args, isHelp)
	if n >= 0 && args[n] == "help" {
		help, args = true, args[n+1:]
		n = verbIndex(cmd, args)
	}
	switch {
	case n < 0:
		return c.noVerb(cmd, args, help)
	case findVerb(cmd, args[n]) == nil:
		return c.exit(cmd, usageErrorf("unknown command %q%s", args[n], similarVerb(cmd, args[n])))
	case help:
		return findVerb(cmd, args[n]).Help()
	}
	return c.exit(cmd, usageErrorf("write the command before its flags: %s %s", commandPath(cmd),
		quotedWords(append(slices.Clone(args[n:]), args[:n]...))))
}

// noVerb runs "api-token" with nothing but flags.
func (c *console) noVerb(cmd *cobra.Command, args []string, help bool) error {
	if help || len(args) == 0 {
		return cmd.Help()
	}
	return c.exit(cmd, usageErrorf("%s takes a command before the flag %s", commandPath(cmd), args[0]))
}

func isHelp(arg string) bool { return arg == "-h" || arg == "--help" }

// verbIndex returns the index of the argument that the user probably means as the verb, or -1.
func verbIndex(cmd *cobra.Command, args []string) int {
	doubtful := -1
	for n := 0; n < len(args); n++ {
		if arg := args[n]; len(arg) < 2 || arg[0] != '-' {
			return n
		}
		known, takesValue := lookUpFlag(cmd, args[n])
		if takesValue {
			n++
		}
		// An unknown flag may have a value.
		if !known && n+1 < len(args) && !strings.HasPrefix(args[n+1], "-") {
			n++
			if findVerb(cmd, args[n]) != nil || similarVerb(cmd, args[n]) != "" {
				return n
			}
			doubtful = n
		}
	}
	return doubtful
}

// lookUpFlag reports whether any verb has a flag, and whether the next argument is its value.
func lookUpFlag(cmd *cobra.Command, arg string) (known, takesValue bool) {
	name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	for _, verb := range cmd.Commands() {
		f := verb.Flags().Lookup(name)
		if len(name) == 1 {
			f = verb.Flags().ShorthandLookup(name)
		}
		if f != nil {
			return true, !hasValue && f.NoOptDefVal == ""
		}
	}
	return isHelp(arg) || hasValue, false
}

// findVerb returns the verb with the name, or nil.
func findVerb(cmd *cobra.Command, name string) *cobra.Command {
	verbs := cmd.Commands()
	n := slices.IndexFunc(verbs, func(verb *cobra.Command) bool { return verb.Name() == name })
	if n < 0 {
		return nil
	}
	return verbs[n]
}

// similarVerb returns the end of an error about an unknown verb: a suggestion, or "".
func similarVerb(cmd *cobra.Command, word string) string {
	var names []string
	for _, verb := range cmd.Commands() {
		if slices.Contains(verb.SuggestFor, strings.ToLower(word)) {
			return didYouMean(verb.Name(), []string{verb.Name()})
		}
		names = append(names, verb.Name())
	}
	return didYouMean(word, names)
}

// unknownFlag adds a suggestion to an error about an unknown flag.
func unknownFlag(flags *pflag.FlagSet, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return usageErrorf("%v", err)
	}
	flags.SortFlags = false // suggests the most important flag first
	var known []string
	flags.VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
	return usageErrorf("%v%s", err, didYouMean("--"+name, known))
}
