package command

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var openVerb = verb{
	command: cobra.Command{
		Use:        "open",
		SuggestFor: []string{"dashboard", "login"},
		Short:      "Prints a link that signs a browser in to the dashboard",
		Long: `
Prints the dashboard's address with a link that signs a browser in, once and
within 10 minutes. You need no admin key, because anyone who can reach Caddy's
admin endpoint can manage all keys anyway. Don't send the link to anyone: the
session has full access for 12 hours.

The command only prints the link, because a browser's arguments appear in process
lists. --end ends all links that this command has created, and the sessions that
they have started.`,
		Example: `  $ caddy api-token open
  $ caddy api-token open --url https://keys.example.com/
  $ caddy api-token open --end`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("url", "", "The dashboard's address, if there are several or a proxy is in front of Caddy")
		flags.Bool("end", false, "End all links that this command has created, and their sessions")
	},
	run: (*invocation).open,
}

func (i *invocation) open() error {
	if len(i.args) > 0 {
		return usageErrorf("open takes no arguments; choose a dashboard with --url")
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if i.flags.Bool("end") {
		if err := api.EndSignInLinks(i.ctx); err != nil {
			return api.explain(err)
		}
		i.message("Ended the sign-in links that this command created, and the sessions that they started.")
		return nil
	}
	dashboard, err := i.dashboard(api)
	if err != nil {
		return err
	}
	link, err := api.CreateSignInLink(i.ctx)
	if err != nil {
		return api.explain(err)
	}
	if _, err := fmt.Fprintln(i.out, link.URL(dashboard)); err != nil {
		return err
	}
	i.message("The link works once, until %s. The session has full access and ends after 12 hours.",
		link.ExpiresAt.In(i.now().Location()).Format("15:04:05 MST"))
	return nil
}

// dashboard returns the address of the dashboard to sign in to.
func (i *invocation) dashboard(api *endpointClient) (string, error) {
	if address := i.flags.String("url"); address != "" {
		return dashboardURL(address)
	}
	settings, err := api.Settings(i.ctx)
	if err != nil {
		return "", api.explain(err)
	}
	switch dashboards := settings.Dashboards; len(dashboards) {
	case 0:
		return "", usageErrorf("the running configuration has no dashboard with a fixed address. To add one, put " +
			"api_tokens_admin in a site of its own and reload:\n\n" +
			"  http://localhost:8082 {\n  \tapi_tokens_admin\n  }\n\n" +
			"If there is one, give its address with --url")
	case 1:
		return dashboardURL(dashboards[0])
	default:
		return "", usageErrorf("there are several dashboards; choose one with --url:\n  %s",
			strings.Join(dashboards, "\n  "))
	}
}

// dashboardURL returns a dashboard's address with a slash at its end, or an error if browsers
// can't sign in there.
func dashboardURL(text string) (string, error) {
	address, err := url.Parse(text)
	if err != nil || address.Host == "" || address.User != nil || address.RawQuery != "" || address.Fragment != "" ||
		address.Scheme != "http" && address.Scheme != "https" {
		return "", usageErrorf("--url: write the address that the browser shows, such as https://keys.example.com/")
	}
	if address.Scheme == "http" && !staysLocal(address.Hostname()) {
		return "", usageErrorf("%s isn't encrypted, so browsers can't sign in there from other machines; "+
			"if a proxy in front of Caddy serves https, give its address with --url", text)
	}
	address.Path = strings.TrimSuffix(address.Path, "/") + "/"
	return address.String(), nil
}

// staysLocal reports whether browsers look for the host on their own machine (RFC 6761 section
// 6.3).
func staysLocal(host string) bool {
	return strings.HasSuffix(host, ".localhost") || isLoopback(host)
}
