package command

import (
	"errors"
	"fmt"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var importVerb = verb{
	command: cobra.Command{
		Use:   "import <file|->",
		Short: "Imports a Mollymawk user's API keys",
		Long: `
Reads the user record returned by Mollymawk's /api/login from a file or standard
input, and imports its keys, so that clients can continue to use them. Everything
else in the record, such as the password hash and cookies, stays on this machine.

You can import a record again: keys that were imported before are skipped, even
if they have been rotated, revoked or deleted since. Upstream tokens of the gate
are skipped too.`,
		Example: `  $ curl -s https://molly.internal/api/login -d @login.json |
      caddy api-token import - --account alice`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("account", "", "Account that the keys act for (default default)")
		flags.StringArray("scope", nil, "Scope of the keys (repeatable; default: everything they can do in Mollymawk)")
		flags.String("preset", "", "Named set of scopes (instead of --scope)")
		outputFlag(flags, "table, json, or id (IDs of the imported keys)", outputTable, outputJSON, outputID)
	},
	run: (*invocation).importTokens,
}

// maxUserRecord is larger than any user record, in bytes.
const maxUserRecord = 16 << 20

func (i *invocation) importTokens() error {
	if len(i.args) != 1 {
		return usageErrorf("pass the file with the user record, or - for standard input")
	}
	form := i.output()
	request := client.ImportRequest{Account: i.flags.String("account"), Preset: i.flags.String("preset")}
	var err error
	if request.Scopes, err = i.listFlag("scope"); err != nil {
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
		batches = append(batches, nil) // makes the server check the account and scopes even without tokens
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
		i.message("The user record contains no API keys to import.")
	}
	return i.printImported(form, all)
}

// importBatch is the maximum number of tokens per request. Each token has 7 members, and a
// request body may contain 1,000 values.
const importBatch = 100

// userRecord is the part of a Mollymawk user record that import sends to the server.
type userRecord struct {
	Tokens []jsontext.Value `json:"tokens"`
}

// userTokens returns a user record's tokens. The rest of the record, including the password
// hash and cookies, never leaves this machine.
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
		// Data is set if the input is the whole response, not just its data member.
		Data record `json:"data"`
	}
	if err := jsonv2.Unmarshal([]byte(text), &whole); err != nil {
		// The decoder's error may quote the record.
		return nil, usageErrorf(
			"the user record isn't JSON of the expected form: use the response of Mollymawk's /api/login")
	}
	tokens := whole.Tokens
	if tokens.Kind() != '[' {
		tokens = whole.Data.Tokens
	}
	if tokens.Kind() != '[' {
		return nil, usageErrorf("the user record has no list of tokens: use the response of Mollymawk's /api/login")
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
		_, err := fmt.Fprintln(i.out, printableJSON(marshal(imported)))
		return err
	default:
		for _, id := range imported.IDs {
			if _, err := fmt.Fprintln(i.out, printable(id)); err != nil {
				return err
			}
		}
	}
	for _, skipped := range imported.Skipped {
		i.message("skipped %q: %s", skipped.Name, skipped.Reason)
	}
	for _, capped := range imported.Capped {
		i.message("%s %q expires at %s, limited by max_lifetime", capped.ID, capped.Name,
			rfc3339(capped.ExpiresAt))
	}
	if all := len(imported.IDs) + len(imported.Skipped); all > 0 {
		i.message("Imported %d of %d keys.", len(imported.IDs), all)
	}
	return nil
}
