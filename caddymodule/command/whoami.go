package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/gate"
)

// keyVariable is the environment variable from which whoami reads the key.
const keyVariable = "MOLLYGATE_KEY"

var whoamiVerb = verb{
	command: cobra.Command{
		Use:   "whoami <gate's URL>",
		Short: "Shows what a gate says about your own API key",
		Long: `
Asks a gate about an API key, as the key's holder: its name, account, scopes, expiry
and what is left of its limits. This needs no access to Caddy's admin endpoint. The
request counts like any other request with the key, and doesn't reach the backend.

The key is read from the environment variable ` + keyVariable + `, or from standard
input with --key-stdin. It is sent only to the gate, and over plain HTTP only if the
gate is on this machine or you add --insecure-http.

The exit status is 4 if the gate refuses the key.`,
		Example: `  $ caddy api-token whoami https://molly.example.com
  $ pass show ci/mollymawk | caddy api-token whoami --key-stdin https://molly.example.com`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Bool("key-stdin", false, "Read the key from standard input")
		flags.Bool("insecure-http", false, "Send the key over plain HTTP, where others can read it")
		outputFlag(flags, "table or json", outputTable, outputJSON)
	},
	run: (*invocation).whoami,
}

func (i *invocation) whoami() error {
	if len(i.args) != 1 {
		return usageErrorf("pass the gate's URL, such as https://molly.example.com")
	}
	target, err := i.gateURL(i.args[0])
	if err != nil {
		return err
	}
	secret, err := i.ownSecret()
	if err != nil {
		return err
	}
	key, body, err := i.askGate(target, secret)
	if err != nil {
		return err
	}
	if i.output() == outputJSON {
		_, err = fmt.Fprintln(i.out, printableJSON(body))
		return err
	}
	return i.printOwnKey(key)
}

// gateURL checks the gate's URL and returns the URL to request.
func (i *invocation) gateURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case !strings.Contains(text, "://") && bareHost.MatchString(text):
		return nil, usageErrorf("the gate's URL needs a scheme; did you mean %s%s?", schemeFor(text), text)
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, usageErrorf("the gate's URL must have the form https://molly.example.com")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, usageErrorf("the gate's URL must not contain a user name, a query or a fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && !i.flags.Bool("insecure-http"):
		return nil, usageErrorf("with http://, others can read the key on its way to %s; use https://, or add "+
			"--insecure-http", u.Host)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+gate.OwnKeyPath, ""
	return u, nil
}

// bareHost matches a host with an optional port and path. Group 1 is the host.
var bareHost = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(?::\d+)?(?:/[A-Za-z0-9._/-]*)?$`)

// schemeFor returns the beginning of a URL for a host that bareHost matches.
func schemeFor(text string) string {
	if host := bareHost.FindStringSubmatch(text)[1]; isLoopback(strings.Trim(host, "[]")) {
		return "http://"
	}
	return "https://"
}

// isLoopback reports whether a host name refers to this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// ownSecret returns the key to ask about.
func (i *invocation) ownSecret() (string, error) {
	if i.flags.Bool("key-stdin") {
		return i.secretFrom("-")
	}
	secret := strings.TrimSpace(os.Getenv(keyVariable))
	if secret == "" {
		return "", usageErrorf("set %s to the key, or pass the key on standard input with --key-stdin", keyVariable)
	}
	return secret, nil
}

// maxOwnKey is the maximum length of a gate's response in bytes. A key has at most 256 scopes.
const maxOwnKey = 1 << 20

// askGate requests the facts about the key and returns them, decoded and as received. It never
// follows redirects, because they would send the key to another server.
func (i *invocation) askGate(target *url.URL, secret string) (key gate.OwnKey, body json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(i.ctx, responseTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return key, nil, usageErrorf("the gate's URL: %v", err)
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return key, nil, usageErrorf("the key contains a character that no key has")
	}
	request.Header.Set("Authorization", "Bearer "+secret)
	request.Header.Set("Accept", "application/json, application/problem+json")
	request.Header.Set("User-Agent", "caddy api-token whoami")
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		ForceAttemptHTTP2: true}
	if target.Scheme == "http" && !i.flags.Bool("insecure-http") {
		transport.Proxy, dialer.Control = nil, localOnly
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}).Do(request)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return key, nil, &unreachableError{text: fmt.Sprintf("no response from %s: %v", target.Host, err), err: err}
	}
	defer func() { _ = response.Body.Close() }() // opened for reading only
	body, err = io.ReadAll(io.LimitReader(response.Body, maxOwnKey))
	if err != nil {
		return key, nil, &unreachableError{err: err,
			text: fmt.Sprintf("the response from %s is incomplete: %v", target.Host, err)}
	}
	return i.gateResponse(target, response, body)
}

// gateResponse returns a gate's response about the key, or an error that says what else has
// responded or why the gate refused.
func (i *invocation) gateResponse(target *url.URL, response *http.Response, body []byte) (key gate.OwnKey,
	_ json.RawMessage, err error) {
	var refused struct{ Code, Detail string }
	foreign := &unreachableError{text: fmt.Sprintf("%s responded with status %d, but not as a gate that knows %s; "+
		"check the URL, and that the gate serves this path", target.Host, response.StatusCode, target.Path)}
	switch {
	case response.StatusCode == http.StatusOK:
		if json.Unmarshal(body, &key) != nil || key.ID == "" {
			return key, nil, foreign
		}
		return key, json.RawMessage(strings.TrimSpace(string(body))), nil
	case json.Unmarshal(body, &refused) != nil || !slices.Contains(gate.Codes(), gate.Code(refused.Code)):
		return key, nil, foreign // the dashboard, for example, responds with another code
	case refused.Code == string(gate.RouteNotAllowed):
		return key, nil, &unreachableError{text: "the gate accepts the key, but it can't say anything about it: " +
			"its version of Mollygate is too old"}
	}
	i.message("Refused with %d %s: %s", response.StatusCode, refused.Code, refused.Detail)
	return key, nil, exitError(refusedCode(response.StatusCode))
}

// refusedCode returns the exit code for a gate's refusal.
func refusedCode(status int) int {
	if status >= http.StatusInternalServerError {
		return exitUnreachable
	}
	return exitRefused
}

// printOwnKey prints what the gate knows about the key, one fact per line.
func (i *invocation) printOwnKey(k gate.OwnKey) error {
	expires := never
	if k.ExpiresAt != nil {
		expires = fmt.Sprintf("%s (%s)", rfc3339(*k.ExpiresAt), relative(*k.ExpiresAt, i.now()))
	}
	rows := [][]string{
		{"id", k.ID}, {"name", k.Name}, {"account", k.Account}, {"scopes", strings.Join(k.Scopes, ", ")},
	}
	if len(k.Resources) > 0 {
		rows = append(rows, []string{"resources", strings.Join(k.Resources, ", ")})
	}
	rows = append(rows, []string{"expires", expires})
	for _, limit := range []struct {
		name string
		*gate.OwnLimit
	}{{"rate limit", k.RateLimit}, {"quota", k.Quota}} {
		if limit.OwnLimit == nil {
			continue
		}
		reset := time.Duration(limit.ResetIn) * time.Second
		rows = append(rows, []string{limit.name, fmt.Sprintf("%s of %s per %s left; resets in %s",
			count(uint64(max(0, limit.Remaining))), count(uint64(max(0, limit.Requests))), limit.Window+limit.Period,
			span(reset))})
	}
	if err := i.printFacts([]column{{}, {rank: 1, least: 20, wrap: true}}, rows); err != nil {
		return err
	}
	switch {
	case k.Rotated:
		i.message("This key has been replaced. Ask for the new secret before the old one stops working.")
	case k.ExpiresSoon:
		i.message("This key expires soon. Ask for a new one.")
	}
	return nil
}
