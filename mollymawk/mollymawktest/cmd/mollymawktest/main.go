// Mollymawktest runs a stand-in for Mollymawk for experiments. It serves Mollymawk's HTTP
// API and keeps users, unikernels and block devices in memory.
//
//	MOLLYMAWK_TOKEN=<uuid> mollymawktest -listen 127.0.0.1:8080
//
// Once the server is listening, mollymawktest writes the server's URL, and nothing else, to
// standard output. All other output goes to standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

const (
	environmentVariable = "MOLLYMAWK_TOKEN"
	defaultUser         = "demo"
	instance            = "default"
	lifetime            = 365 * 24 * time.Hour
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv(environmentVariable), os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "mollymawktest:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, environment string, stdout, stderr io.Writer) error {
	var given textList
	flags := flag.NewFlagSet("mollymawktest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8080", "`address` to listen on")
	generation := flags.String("generation", "current", "version of Mollymawk's API to imitate: current or 2025")
	flags.Var(&given, "token", "accept this token, a `[user=]uuid`; can be repeated. The default user is "+
		defaultUser+". The environment variable "+environmentVariable+" can contain another token")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	}
	if environment != "" {
		given = append(given, environment)
	}
	tokens, err := parseTokens(given)
	if err != nil {
		return err
	}
	options := mollymawktest.Options{Address: *listen, RawLimit: -1}
	switch *generation {
	case "current":
	case "2025":
		options.Generation = mollymawktest.Generation2025
	default:
		return fmt.Errorf("unknown generation %q: use current or 2025", *generation)
	}
	server, err := mollymawktest.Listen(options)
	if err != nil {
		return err
	}
	defer server.Close()

	server.AddUser(defaultUser)
	for _, t := range tokens {
		server.AddTokenValue(t.user, "command line", t.value, lifetime)
	}
	if len(tokens) == 0 {
		fmt.Fprintf(stderr, "token for %s: %s\n", defaultUser, server.AddToken(defaultUser, "command line", lifetime))
	}
	users := usersOf(tokens)
	for _, user := range users {
		server.AddUnikernel(user, instance, "hello")
	}
	fmt.Fprintf(stderr, "sign in with POST %s/api/login as %s@example.com, password %s\n", server.URL(), defaultUser,
		mollymawktest.Password)
	if _, err := fmt.Fprintln(stdout, server.URL()); err != nil {
		return fmt.Errorf("writing the URL: %w", err)
	}
	emitLines(ctx, server, users)
	return nil
}

// emitLines writes a line to every unikernel's console every second until ctx is done.
func emitLines(ctx context.Context, server *mollymawktest.Server, users []string) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 1; ; n++ {
		for _, user := range users {
			for _, u := range server.Unikernels(user) {
				server.Emit(user, u.Instance, u.Name, fmt.Sprintf("hello from %s, line %d", u.Name, n))
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// textList is the value of the -token flag. It never rejects a value, because package flag
// would print the rejected value, and these values are secrets.
type textList []string

// String implements flag.Value. It doesn't reveal the tokens.
func (l *textList) String() string { return "" }

// Set implements flag.Value.
func (l *textList) Set(text string) error {
	*l = append(*l, text)
	return nil
}

type userToken struct{ user, value string }

var (
	uuid     = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	userName = regexp.MustCompile(`^[A-Za-z0-9.][A-Za-z0-9.-]{0,62}$`)
)

// parseTokens parses tokens of the form [user=]uuid. Its errors don't reveal them.
func parseTokens(texts []string) ([]userToken, error) {
	var tokens []userToken
	for _, text := range texts {
		user, value, ok := strings.Cut(text, "=")
		if !ok {
			user, value = defaultUser, text
		}
		if !userName.MatchString(user) {
			return nil, errors.New(
				"invalid user of a token: use 1 to 63 of A-Z a-z 0-9 . - and don't start with -")
		}
		if !uuid.MatchString(value) {
			return nil, errors.New("invalid token: Mollymawk's tokens are lower-case UUIDs; uuidgen creates one")
		}
		tokens = append(tokens, userToken{strings.ToLower(user), value})
	}
	return tokens, nil
}

// usersOf returns the default user and all users with tokens.
func usersOf(tokens []userToken) []string {
	users := []string{defaultUser}
	for _, t := range tokens {
		if !slices.Contains(users, t.user) {
			users = append(users, t.user)
		}
	}
	return users
}

var _ flag.Value = (*textList)(nil)
