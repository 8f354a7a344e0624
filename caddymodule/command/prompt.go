package command

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

// readLine reads a line from standard input.
func (c *console) readLine() (string, error) {
	if c.lines == nil {
		c.lines = bufio.NewReader(c.in)
	}
	return c.lines.ReadString('\n')
}

// noSettings reports whether no flag says what the key is.
func (i *invocation) noSettings() bool {
	none := true
	i.flags.Visit(func(f *pflag.Flag) {
		none = none && slices.Contains([]string{"address", "config", "adapter", "output"}, f.Name)
	})
	return none
}

// askSettings asks for the most important settings of a new key and sets their flags.
func (i *invocation) askSettings() error {
	api, err := i.client()
	if err != nil {
		return err
	}
	catalog, err := api.Catalog(i.ctx)
	if err != nil {
		return api.explain(err)
	}
	i.message("A new API key. Press Enter to accept a [default], or Ctrl-C to stop.")
	if err := i.askFlag("name", "Name (what the key is for)", nil, ""); err != nil {
		return err
	}
	if err := i.askFlag("expires-in", "Expires in (12h, 90d, 6mo, 2y or never)", nil, "90d"); err != nil {
		return err
	}
	if err = i.askScopes(catalog); err != nil || len(catalog.Accounts) < 2 {
		return err
	}
	return i.askFlag("account", "Account", catalog.Accounts, first(catalog.Accounts, "default"))
}

// askScopes asks for a preset or for scopes.
func (i *invocation) askScopes(catalog client.Catalog) error {
	presets, byDefault, question := catalog.Presets(), "", "Scopes"
	if len(presets) > 0 {
		byDefault, question = first(presets, "read"), "Preset ("+strings.Join(presets, ", ")+") or scopes"
	}
	for _, preset := range presets {
		i.message("  %-*s  %s", longest(presets), preset, fewOf(catalog.Included(preset)))
	}
	for {
		answer, err := i.askText(question, byDefault)
		if err != nil {
			return err
		}
		if slices.Contains(presets, answer) {
			return i.flags.Set("preset", answer)
		}
		scopes := strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		known := catalog.Grants()
		unknown := slices.IndexFunc(scopes, func(scope string) bool { return !slices.Contains(known, scope) })
		if unknown < 0 {
			for _, scope := range scopes {
				if err := i.flags.Set("scope", scope); err != nil {
					return err
				}
			}
			return nil
		}
		i.message("There is no %q%s", scopes[unknown], didYouMean(scopes[unknown], append(presets, known...)))
		if len(presets) == 0 || strings.Contains(answer, ":") {
			i.message("The scopes are %s.", strings.Join(known, ", "))
		}
	}
}

// longest returns the length of the longest word.
func longest(words []string) (n int) {
	for _, word := range words {
		n = max(n, len(word))
	}
	return n
}

// first returns the preferred value if it is known, or the first known value.
func first(known []string, preferred string) string {
	if slices.Contains(known, preferred) {
		return preferred
	}
	return known[0]
}

// askText asks a question until there is an answer. The end of the input means that the user
// doesn't want to answer.
func (i *invocation) askText(question, byDefault string) (string, error) {
	if byDefault != "" {
		question += " [" + byDefault + "]"
	}
	for {
		_, _ = fmt.Fprintf(i.err, "%s: ", printable(question))
		line, err := i.readLine()
		answer := strings.TrimSpace(line)
		if err != nil && answer == "" {
			i.message("\nNothing was changed.")
			return "", exitError(exitRefused)
		}
		if answer == "" {
			answer = byDefault
		}
		if answer != "" {
			return answer, nil
		}
		i.message("This can't be empty.")
	}
}

// askFlag asks for a flag's value until the answer is valid.
func (i *invocation) askFlag(name, question string, known []string, byDefault string) error {
	if len(known) > 0 {
		question += " (" + strings.Join(known, ", ") + ")"
	}
	for {
		answer, err := i.askText(question, byDefault)
		if err != nil {
			return err
		}
		if known != nil && !slices.Contains(known, answer) {
			i.message("There is no %q%s", answer, didYouMean(answer, known))
			continue
		}
		if err := i.flags.Set(name, answer); err != nil {
			return err
		}
		if name != "expires-in" {
			return nil
		}
		if err = checkLifetime(name, answer); err == nil {
			return nil
		}
		i.message("%s", strings.TrimPrefix(err.Error(), "--expires-in: "))
	}
}

// sameCommand returns the command line with the flags that the answers have set.
func (i *invocation) sameCommand() string {
	words := []string{"create"}
	for _, name := range []string{"name", "expires-in", "preset", "scope", "account", "output"} {
		for _, value := range i.values(name) {
			words = append(words, "--"+name, quoted(value))
		}
	}
	return i.call(strings.Join(words, " "))
}

// quotedWords joins the words of a command line, quoted for a POSIX shell.
func quotedWords(words []string) string {
	all := make([]string, len(words))
	for n, word := range words {
		all[n] = quoted(word)
	}
	return strings.Join(all, " ")
}

// quoted quotes a word for a POSIX shell if necessary.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("_-./:,@=", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
