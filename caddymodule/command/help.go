package command

// The help templates. Unlike cobra's, they have a single usage line, and the link is to
// Mollygate's documentation instead of Caddy's.
const (
	helpTemplate = `{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}
Documentation: https://github.com/mollygate/mollygate/blob/main/docs/admin.md#command-line
`

	usageTemplate = `Usage:
  {{ownPath .UseLine}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{$verbs := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $verbs}}{{if eq .GroupID $group.ID}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

'{{ownPath .CommandPath}} <command> --help' shows a command's flags and examples.{{end}}
`
)
