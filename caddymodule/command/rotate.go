package command

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var rotateVerb = verb{
	command: cobra.Command{
		Use:        "rotate <id|hint|name>",
		SuggestFor: []string{"renew"},
		Short:      "Creates a new secret for an API key and prints it once",
		Long: `
Creates a new secret for an API key; its ID stays the same. The old secret
continues to work for the grace period, so that clients can switch without an
outage. Responses to requests with the old secret carry a warning. To stop the old
secret sooner, use 'caddy api-token edit <id> --old-secret-until none'.

As with create, only the key goes to standard output.`,
		Example: `  $ MOLLYGATE_KEY=$(caddy api-token rotate 4fQ9Zt2LkVb7)
  $ caddy api-token rotate 4fQ9Zt2LkVb7 --grace 7d --expires-in 1y
  $ caddy api-token rotate 4fQ9Zt2LkVb7 --grace 0s --yes   # the old secret has leaked`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("grace", "24h",
			"How long the old secret keeps working: 30m (minutes), 12h, 7d or a number of seconds; 0s: stop it now")
		flags.String("expires-in", "",
			"Lifetime of the new secret: "+lifetimeUsage+" (default: unchanged)")
		flags.String("expires-at", "",
			"When the new secret expires, such as 2030-12-31T23:59:59Z (instead of --expires-in)")
		flags.Bool("yes", false, "Don't ask for confirmation with --grace 0s")
		secretOutputFlag(flags)
	},
	run: (*invocation).rotate,
}

func (i *invocation) rotate() error {
	if err := i.checkOneKey("rotate"); err != nil {
		return err
	}
	request := client.RotateRequest{Grace: grace(i.flags.String("grace")),
		ExpiresIn: client.Lifetime(i.flags.String("expires-in"))}
	var err error
	request.ExpiresAt, err = i.timeFlag("expires-at")
	i.noteUnit("grace")
	if err := errors.Join(i.lifetimeFlag("expires-in"), err); err != nil {
		return err
	}
	api, keys, err := i.keys()
	if err != nil {
		return err
	}
	if noGrace(request.Grace) {
		if err := i.confirm(keys, "Rotate %s without a grace period? The current secret stops working immediately.",
			""); err != nil {
			return err
		}
	}
	rotated, err := api.Rotate(i.ctx, keys[0].ID, request)
	if err != nil {
		err = api.explain(err)
		if unreachable, ok := errors.AsType[*unreachableError](err); ok && unreachable.sent() {
			unreachable.text += fmt.Sprintf("; the key may have been rotated anyway: check with `%s`",
				i.call("show "+keys[0].ID))
		}
		return err
	}
	return i.printSecret(rotated, "rotated", func() {
		i.message("Rotated %s, %s. %s This is the only time the new one is shown.",
			rotated.Token, i.expiry(rotated.Token), i.oldSecret(rotated.Token))
		if i.oldSecretWorks(keys[0].Token) {
			i.message("The secret before the old one has stopped working.")
		}
		if i.oldSecretWorks(rotated.Token) {
			i.message("To stop the old secret sooner: %s", i.call("edit "+rotated.ID+" --old-secret-until none"))
		}
	})
}

// noGrace reports whether a grace period is zero in any unit.
func noGrace(period client.Lifetime) bool {
	return strings.Trim(strings.TrimRight(string(period), "shd"), "0") == ""
}

func (i *invocation) oldSecretWorks(t client.Token) bool { return t.PreviousValidUntil.After(i.now()) }

// oldSecret returns a sentence that says how long a key's old secret works.
func (i *invocation) oldSecret(t client.Token) string {
	if end := t.PreviousValidUntil; i.oldSecretWorks(t) {
		return fmt.Sprintf("The old secret works until %s (%s).", rfc3339(end), relative(end, i.now()))
	}
	return "The old secret has stopped working."
}

// grace returns a grace period. Unlike a lifetime, it can be in minutes: nobody means months.
func grace(text string) client.Lifetime {
	if minutes, ok := strings.CutSuffix(text, "m"); ok {
		if n, err := strconv.ParseUint(minutes, 10, 32); err == nil {
			return client.Lifetime(strconv.FormatUint(n*60, 10))
		}
	}
	return client.Lifetime(text)
}

// printSecret writes a new secret to standard output, then calls report.
func (i *invocation) printSecret(created client.Created, done string, report func()) error {
	text := created.Secret.Reveal()
	if i.output() == outputJSON {
		text = printableJSON(created.JSON())
	}
	if _, err := io.WriteString(i.out, text+"\n"); err != nil {
		return fmt.Errorf(
			"API key %s was %s, but its secret is lost because writing to standard output failed; delete the key: %w",
			created.ID, done, err)
	}
	report()
	return nil
}
