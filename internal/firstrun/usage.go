package firstrun

import (
	"fmt"
	"slices"
)

// Program is the command that starts the first run.
const Program = "go run ./cmd/firstrun"

// commandLine is the command line's name, which works in another terminal.
const commandLine = Program + " api-token"

// The usage text, before and after the list of options.
const (
	UsageBegin = `Usage:
  ` + Program + ` [options]
  ` + commandLine + ` <command>

Without api-token, this command starts a gate to try out, in front of a stand-in
for Mollymawk. With api-token, it manages the API keys of the gate that is
running. '` + commandLine + ` --help' lists its commands.

Options:
`
	UsageEnd = `
Environment variables:
  MOLLYMAWK_URL, MOLLYMAWK_TOKEN
    	a Mollymawk server to use instead of the stand-in, and one of its tokens
  MOLLYGATE_PORT, MOLLYGATE_DASHBOARD_PORT
    	ports of the gate and the dashboard (default 8080 and 8082, or the next
    	free ones)
  CADDY_ADMIN
    	address of Caddy's admin endpoint, which api-token uses (default
    	localhost:2019, or the next free port)
`
)

// Unexpected describes an unexpected argument of the first run, which precedes others. commands
// are the commands of api-token.
func Unexpected(args, commands []string) string {
	const help = "; '" + Program + " -help' shows the options"
	switch {
	case slices.Contains(commands, args[0]):
		return fmt.Sprintf("%[1]s is a command of api-token; run: %[2]s %[1]s%[3]s", args[0], commandLine,
			more(args[1:]))
	case args[0] == "api-token" && len(args) > 1:
		return fmt.Sprintf("the options before api-token apply only to starting a gate; run: %s %s%s\n"+
			"This uses the gate at Caddy's default admin address. For another gate, add the --address that its "+
			"terminal shows.", commandLine, args[1], more(args[2:]))
	case args[0] == "api-token":
		return "the options before api-token apply only to starting a gate; run: " + commandLine + " --help"
	}
	return fmt.Sprintf("unexpected argument %q%s", args[0], help)
}

// more stands for further arguments.
func more(args []string) string {
	if len(args) > 0 {
		return " …"
	}
	return ""
}
