package command

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpguts"

	"github.com/mollygate/mollygate/admin/client"
)

var explainVerb = verb{
	command: cobra.Command{
		Use:   "explain <method> <path>",
		Short: "Explains how the gate would treat a request",
		Long: `
Runs the gate's checks for a request without sending or counting it. In place of the
path, you can pass the request's whole URL. Identify the API key by its ID, hint or
name, or read the whole key from standard input or a file.

If several gates have the route and their results differ, all results are
printed; --gate selects one gate.

The exit status is 4 if any of these gates would refuse the request.`,
		Example: `  $ caddy api-token explain POST /api/unikernel/create --token-id 4fQ9Zt2LkVb7 --ip 203.0.113.7
  $ caddy api-token explain GET '/api/unikernels?instance=a' --token-file -
  $ caddy api-token explain POST /api/unikernel/destroy --token-id webshop --resource unikernel/api`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("token-id", "", "The key: its ID, hint or name")
		flags.String("token-file", "", tokenFileUsage+" (instead of --token-id)")
		flags.String("gate", "", "Name of the gate (default: all gates with the route)")
		flags.String("body", "", "Body of the request, for a key that is bound to resources")
		flags.StringArray("resource", nil,
			"Resource that the request acts on, such as unikernel/web (instead of --body)")
		flags.String("ip", "", "Client address of the request (default: not checked)")
		outputFlag(flags, "table or json", outputTable, outputJSON)
	},
	run: (*invocation).explainRequest,
}

func (i *invocation) explainRequest() error {
	question := client.Question{IP: i.flags.String("ip"), Gate: i.flags.String("gate"), Body: i.flags.String("body")}
	file := i.flags.String("token-file")
	var err error
	if question.Method, question.Path, err = requestArguments(i.args); err != nil {
		return err
	}
	if (i.flags.String("token-id") == "") == (file == "") {
		return usageErrorf("select an API key with either --token-id or --token-file")
	}
	if question.Resources, err = i.listFlag("resource"); err != nil {
		return err
	}
	if file != "" {
		if question.Token, err = i.secretFrom(file); err != nil {
			return err
		}
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if question.TokenID, err = i.keyFlag(api, "token-id"); err != nil {
		return err
	}
	e, err := api.Explain(i.ctx, question)
	if err != nil {
		return api.explain(err)
	}
	if i.output() == outputJSON {
		if _, err := fmt.Fprintln(i.out, printableJSON(marshal(e))); err != nil {
			return err
		}
	} else if err := i.printExplanation(e); err != nil {
		return err
	}
	for _, outcome := range append(e.OtherGates, e.GateExplanation) {
		if !outcome.Allowed {
			return exitError(exitRefused)
		}
	}
	return nil
}

// requestArguments returns the method and the path of the request that the arguments describe. In
// place of the path, it accepts a URL.
func requestArguments(args []string) (method, path string, err error) {
	if len(args) != 2 {
		return "", "", usageErrorf(
			"explain takes a method and a path, for example: explain GET /api/unikernels --token-id <id>")
	}
	method, path = args[0], args[1]
	if !httpguts.ValidHeaderFieldName(method) { // methods have the same syntax
		return "", "", usageErrorf("%q isn't a method; write the method before the path, for example: "+
			"explain GET /api/unikernels", method)
	}
	if match := httpURL.FindStringSubmatch(path); match != nil {
		path = "/" + strings.TrimPrefix(match[1], "/")
	}
	if !strings.HasPrefix(path, "/") {
		return "", "", usageErrorf("the path must begin with /, for example /api/unikernels")
	}
	return method, path, nil
}

// httpURL matches a URL. Its group is the path with the query, exactly as they are written.
var httpURL = regexp.MustCompile(`(?i)^https?://[^/?#]+([^#]*)`)

// printExplanation prints how the gates treat the request. If the results differ, it prints
// one result per gate.
func (i *invocation) printExplanation(e client.Explanation) error {
	if len(e.OtherGates) == 0 {
		return i.printOutcome(e.GateExplanation, "")
	}
	if _, err := fmt.Fprintln(i.out, "The gates treat this request differently."); err != nil {
		return err
	}
	for _, outcome := range append([]client.GateExplanation{e.GateExplanation}, e.OtherGates...) {
		if err := i.printOutcome(outcome, "\nat "+printable(outcome.Gate)+": "); err != nil {
			return err
		}
	}
	return nil
}

func (i *invocation) printOutcome(e client.GateExplanation, at string) error {
	verdict, as := "allowed", green
	if !e.Allowed {
		verdict, as = fmt.Sprintf("refused with %d %s", e.Status, e.Code), red
	}
	if _, err := fmt.Fprintln(i.out, at+i.screen.paint(printable(verdict), as)); err != nil {
		return err
	}
	t := newTable(i.out, i.screen, []column{{name: "CHECK"}, {name: "RESULT", style: statusStyle},
		{name: "DETAIL", rank: 1, least: 20, wrap: true}})
	t.whole = true
	for _, check := range e.Checks {
		outcome := "ok"
		if !check.Pass {
			outcome = "refused"
		}
		if err := t.row([]string{check.Name, outcome, check.Detail}); err != nil {
			return err
		}
	}
	return t.end()
}
