package command

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var rotateVerb = verb{
	command: cobra.Command{
		Use:   "rotate <id>",
		Short: "Gives a token a new secret and prints it, this once",
		Long: `
Makes a new secret for a token under the same id. The old secret works on until
the grace is over, so that its users can change over without an outage; answers
to who still uses it carry a warning.

The token alone goes to standard output, as by create.`,
		Example: `  $ MOLLYGATE_KEY=$(caddy api-token rotate 4fQ9Zt2LkVb7)
  $ caddy api-token rotate 4fQ9Zt2LkVb7 --grace 7d --expires-in 1y
  $ caddy api-token rotate 4fQ9Zt2LkVb7 --grace 0s --yes   # the old secret is known to others`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("grace", "24h",
			"How long the old secret works on: 12h, 7d, a number of seconds; 0s is immediately")
		flags.String("expires-in", "",
			"How long the new secret lives: 12h, 90d, 6mo, 2y, a number of seconds, or never (default as before)")
		flags.String("expires-at", "", "When it ends, such as 2030-12-31T23:59:59Z (instead of --expires-in)")
		flags.Bool("yes", false, "Don't ask, if the old secret stops immediately")
		outputFlag(flags, "table: the token; json: the object with the token in it")
	},
	run: (*invocation).rotate,
}

func (i *invocation) rotate() error {
	id, err := i.oneID("rotate")
	if err != nil {
		return err
	}
	form, err := i.secretOutput()
	if err != nil {
		return err
	}
	request := client.RotateRequest{Grace: client.Lifetime(i.flags.String("grace")),
		ExpiresIn: client.Lifetime(i.flags.String("expires-in"))}
	if request.ExpiresAt, err = i.timeFlag("expires-at"); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if strings.Trim(string(request.Grace), "0") == "" || request.Grace == "0s" {
		if err := i.confirm(api, []string{id},
			"Rotate it without a grace? Its present secret stops working immediately."); err != nil {
			return err
		}
	}
	rotated, err := api.Rotate(i.ctx, id, request)
	if err != nil {
		err = api.explain(err)
		if unreachable, ok := errors.AsType[*unreachableError](err); ok && unreachable.sent() {
			unreachable.text += "; the token may have been rotated nevertheless; look at it with show"
		}
		return err
	}
	return i.handOver(form, rotated, "rotated", func() {
		until := "has stopped working"
		if end := rotated.PreviousValidUntil; !end.IsZero() {
			until = fmt.Sprintf("works until %s (%s)", end.Format(time.RFC3339), relative(end, i.now()))
		}
		i.tell("Rotated %q (%s), which expires %s. The old secret %s. The new one can't be shown again.", rotated.Name,
			rotated.ID, i.end(rotated.Token), until)
	})
}

// handOver writes a secret to standard output, or says that it is lost.
func (i *invocation) handOver(form string, made client.Created, done string, told func()) error {
	text := made.Secret.Reveal()
	if form == outputJSON {
		text = printableJSON(made.JSON())
	}
	if _, err := io.WriteString(i.out, text+"\n"); err != nil {
		return fmt.Errorf(
			"the token %s was %s but couldn't be written to standard output, so it is lost; delete it: %w", made.ID,
			done, err)
	}
	told()
	return nil
}
