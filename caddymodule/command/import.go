package command

import (
	"errors"
	"fmt"
	"slices"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var importVerb = verb{
	command: cobra.Command{
		Use:   "import <file|->",
		Short: "Takes over the tokens of one of Mollymawk's users",
		Long: `
Reads the user record that Mollymawk's /api/login answers with, from a file or
standard input, and takes over its tokens: clients keep theirs. What else is in
the record, such as the hash of a password and cookies, is sent nowhere.

A record can be imported again: tokens that were imported before are skipped, also
if they have been rotated, revoked or deleted since. So is a token that the gate
presents to Mollymawk itself.`,
		Example: `  $ curl -s https://molly.internal/api/login -d @login.json | caddy api-token import - --account alice`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("account", "", "Account on whose behalf the tokens act (default default)")
		flags.StringArray("scope", nil, "What they may do (repeatable; default: everything they could)")
		flags.String("preset", "", "Name of a set of scopes (instead of --scope)")
		outputFlag(flags, "table, json, or id: of the imported ones")
	},
	run: (*invocation).importTokens,
}

// maxUserRecord is more than any user record has, in bytes.
const maxUserRecord = 16 << 20

func (i *invocation) importTokens() error {
	if len(i.args) != 1 {
		return usageErrorf("name the file with the user record, or - for standard input")
	}
	form, err := i.output()
	if err != nil {
		return err
	}
	request := client.ImportRequest{Account: i.flags.String("account"), Preset: i.flags.String("preset")}
	if request.Scopes, err = i.flags.GetStringArray("scope"); err != nil {
		return err
	}
	tokens, err := i.userTokens(i.args[0])
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	all := client.Imported{IDs: []string{}, Skipped: []client.SkippedImport{}, Capped: []client.CappedImported{}}
	batches := slices.Collect(slices.Chunk(tokens, importBatch))
	if len(batches) == 0 {
		batches = append(batches, nil) // so that the account and the scopes are checked
	}
	for _, batch := range batches {
		if request.Data, err = jsonv2.Marshal(userRecord{batch}); err != nil {
			return err
		}
		imported, err := api.Import(i.ctx, request)
		if err != nil {
			return errors.Join(i.printImported(form, all), api.explain(err))
		}
		all.IDs = append(all.IDs, imported.IDs...)
		all.Skipped = append(all.Skipped, imported.Skipped...)
		all.Capped = append(all.Capped, imported.Capped...)
	}
	if len(tokens) == 0 && form != outputJSON {
		i.tell("The user record has no tokens: there is nothing to import.")
	}
	return i.printImported(form, all)
}

// importBatch is how many tokens are sent in one call. A token has 7 members, and a body
// may have 1,000 values.
const importBatch = 100

// userRecord is the part of a Mollymawk user record that is sent.
type userRecord struct {
	Tokens []jsontext.Value `json:"tokens"`
}

// userTokens returns the tokens of a user record. The rest, with the hash of a password
// and cookies, stays here.
func (i *invocation) userTokens(name string) ([]jsontext.Value, error) {
	text, err := i.readText(name, maxUserRecord)
	if err != nil {
		return nil, usageErrorf("reading the user record: %v", err)
	}
	type record struct {
		Tokens jsontext.Value `json:"tokens"`
	}
	var whole struct {
		record
		// Data is set if the whole answer was given and not only its data.
		Data record `json:"data"`
	}
	if err := jsonv2.Unmarshal([]byte(text), &whole); err != nil {
		// The error may quote from the record.
		return nil,
			usageErrorf("the user record isn't JSON of the right form: give what Mollymawk's /api/login answers with")
	}
	tokens := whole.Tokens
	if tokens.Kind() != '[' {
		tokens = whole.Data.Tokens
	}
	if tokens.Kind() != '[' {
		return nil, usageErrorf("the user record has no list of tokens: give what Mollymawk's /api/login answers with")
	}
	var list []jsontext.Value
	if err := jsonv2.Unmarshal(tokens, &list); err != nil {
		return nil, err
	}
	return list, nil
}

func (i *invocation) printImported(form string, imported client.Imported) error {
	switch form {
	case outputJSON:
		text, err := marshal(imported)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(i.out, printableJSON(text))
		return err
	default:
		for _, id := range imported.IDs {
			if _, err := fmt.Fprintln(i.out, printable(id)); err != nil {
				return err
			}
		}
	}
	for _, skipped := range imported.Skipped {
		i.tell("left out %q: %s", skipped.Name, skipped.Reason)
	}
	for _, capped := range imported.Capped {
		i.tell("%s %q ends at %s, as max_lifetime has it", capped.ID, capped.Name,
			capped.ExpiresAt.UTC().Format(time.RFC3339))
	}
	if all := len(imported.IDs) + len(imported.Skipped); all > 0 {
		i.tell("Imported %d of %d tokens.", len(imported.IDs), all)
	}
	return nil
}
