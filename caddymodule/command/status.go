package command

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var statusVerb = verb{
	command: cobra.Command{
		Use:   "status",
		Short: "Shows whether the gateway is healthy",
		Long: `
Shows the health of the key store, its disk, the clock and the backends, the number
of API keys, which of them expire next, today's requests (in UTC), the last backup
and the version. If other gates share the key store, it also shows the age of this
gate's copy and the number of gates.

The exit status is 4 if anything needs attention. A missing backup doesn't count.`,
		Example: `  $ caddy api-token status
  $ caddy api-token status --output json | jq .expires_next`,
	},
	flags: func(flags *pflag.FlagSet) { outputFlag(flags, "table or json", outputTable, outputJSON) },
	run:   (*invocation).status,
}

// status is what the command shows. Its JSON is the command's own, because the API has no call
// that returns all of it.
type status struct {
	Healthy bool   `json:"healthy"`
	Version string `json:"version"`
	// Checks maps the API's health checks to their results. If the store can't be read, there
	// is only the store's check.
	Checks map[string]client.HealthCheck `json:"checks"`
	// Tokens is nil if the server hasn't counted the keys yet.
	Tokens        *client.TokenCounts `json:"tokens"`
	ExpiresNext   []expiring          `json:"expires_next"`
	RequestsToday requestsToday       `json:"requests_today"`
	StoreSize     int64               `json:"store_size"`
	DiskFree      *int64              `json:"disk_free"`
	LastBackup    *time.Time          `json:"last_backup"`
	// Nodes is nil if the key store isn't shared.
	Nodes *nodeCounts `json:"nodes,omitzero"`
}

// nodeCounts counts the gates that share the key store.
type nodeCounts struct {
	Live int `json:"live"`
	Gone int `json:"gone"`
}

type expiring struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	ExpiresAt time.Time `json:"expires_at"`
	// Soon reports whether the key is about to expire.
	Soon bool `json:"expires_soon"`
}

type requestsToday struct {
	Allowed uint64 `json:"allowed"`
	Refused uint64 `json:"refused"`
}

const (
	// expiringNext is the maximum number of keys that status shows.
	expiringNext = 5
	// countTries is how many times status asks for the number of keys. The first count of a million
	// keys takes about a second.
	countTries = 5
	// backupAge is the age at which status suggests a new backup.
	backupAge = 7 * 24 * time.Hour
)

func (i *invocation) status() error {
	if len(i.args) > 0 {
		return usageErrorf("status takes only flags; use show for a single key")
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	s, err := i.readStatus(api)
	if err != nil {
		return err
	}
	if i.output() == outputJSON {
		_, err = fmt.Fprintln(i.out, printableJSON(marshal(s)))
	} else {
		err = i.printStatus(s)
	}
	if err == nil && !s.Healthy {
		return exitError(exitRefused)
	}
	return err
}

// readStatus asks the server for all that status shows. If the store can't be read, it
// returns a status that says so.
func (i *invocation) readStatus(api *endpointClient) (*status, error) {
	overview, err := i.overview(api)
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Code == "store_unavailable" {
		return &status{Checks: map[string]client.HealthCheck{"store": {Status: "failed", Detail: refused.Detail}}}, nil
	}
	if err != nil {
		return nil, api.explain(err)
	}
	settings, err := api.Settings(i.ctx)
	if err != nil {
		return nil, api.explain(err)
	}
	next, err := api.List(i.ctx, client.ListQuery{Status: "active", Sort: "expires_at", Limit: expiringNext})
	if err != nil {
		return nil, api.explain(err)
	}
	health := overview.Health
	s := &status{
		Healthy: true, Version: settings.Version, Tokens: overview.Tokens, StoreSize: settings.Store.Size,
		DiskFree: settings.Store.DiskFree, ExpiresNext: []expiring{},
		Checks: map[string]client.HealthCheck{
			"store": health.Store, "journal": health.Journal, "clock": health.Clock, "disk_free": health.DiskFree,
			"damaged": health.Damaged, "backend": health.Backend, "backup": health.Backup,
		},
	}
	if health.Replica != nil {
		s.Checks["replica"] = *health.Replica
		if s.Nodes, err = i.countNodes(api); err != nil {
			return nil, err
		}
	}
	for _, check := range s.Checks {
		s.Healthy = s.Healthy && check.Status == "ok"
	}
	if at := health.Backup.Time; !at.IsZero() {
		s.LastBackup = &at
	}
	for _, t := range next.Tokens {
		if !t.ExpiresAt.IsZero() {
			s.ExpiresNext = append(s.ExpiresNext, expiring{t.ID, t.Name, t.ExpiresAt.UTC(), t.ExpiresSoon})
		}
	}
	today := overview.Time.UTC().Truncate(24 * time.Hour)
	for _, count := range overview.Requests.Days {
		if count.Time.Equal(today) {
			s.RequestsToday = requestsToday{count.Allowed, count.Refused}
		}
	}
	return s, nil
}

// countNodes counts the gates that share the key store.
func (i *invocation) countNodes(api *endpointClient) (*nodeCounts, error) {
	nodes, err := api.Nodes(i.ctx)
	if err != nil {
		return nil, api.explain(err)
	}
	counts := new(nodeCounts)
	for _, n := range nodes {
		if n.Live {
			counts.Live++
		} else {
			counts.Gone++
		}
	}
	return counts, nil
}

// overview waits a few seconds for the server to count the keys.
func (i *invocation) overview(api *endpointClient) (client.Overview, error) {
	for try := 1; ; try++ {
		o, err := api.Overview(i.ctx)
		if err != nil || o.Tokens != nil || try == countTries {
			return o, err
		}
		select {
		case <-i.after(time.Second):
		case <-i.ctx.Done():
			return o, i.ctx.Err()
		}
	}
}

// statusChecks lists the checks in the order in which status shows them.
var statusChecks = []struct{ key, name string }{
	{"store", "store"}, {"replica", "shared copy"}, {"damaged", "records"}, {"journal", "counts"},
	{"disk_free", "disk"},
	{"clock", "clock"}, {"backend", "backend"},
}

// printStatus prints the status, one fact per line.
func (i *invocation) printStatus(s *status) error {
	columns := []column{
		{},
		{style: func(cell string) style {
			switch cell {
			case "healthy", "ok":
				return green
			case "warning":
				return yellow
			case "failed", "needs attention":
				return red
			}
			return ""
		}},
		{rank: 1, least: 20, wrap: true},
	}
	verdict := "healthy"
	if !s.Healthy {
		verdict = "needs attention"
	}
	rows := [][]string{{"gateway", verdict, s.version()}}
	for _, check := range statusChecks {
		if result, ok := s.Checks[check.key]; ok {
			rows = append(rows, []string{check.name, result.Status, s.about(check.key, result)})
		}
	}
	if err := i.printFacts(columns, append(rows, i.statusRows(s)...)); err != nil {
		return err
	}
	if s.Checks["backup"].Status != "" && (s.LastBackup == nil || i.now().Sub(*s.LastBackup) > backupAge) {
		i.message("Make a backup: %s", i.call("backup tokens-$(date +%F).db"))
	}
	return nil
}

// printFacts prints a table without a heading, and never leaves out a column. A cell that is a
// single space stays empty instead of becoming "-".
func (i *invocation) printFacts(columns []column, rows [][]string) error {
	var text bytes.Buffer
	t := newTable(&text, i.screen, columns)
	t.whole = true
	for _, row := range rows {
		if err := t.row(row); err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(i.out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func (s *status) version() string {
	if s.Version == "" {
		return " "
	}
	return "Mollygate " + s.Version
}

// about returns what there is to know about a check.
func (s *status) about(key string, check client.HealthCheck) string {
	switch {
	case check.Detail != "":
		return ownName(check.Detail)
	case key == "store":
		return humanize.IBytes(uint64(s.StoreSize))
	case key == "replica" && check.AgeSeconds != nil:
		return span(time.Duration(*check.AgeSeconds)*time.Second) + " old"
	case key == "disk_free" && s.DiskFree != nil:
		return humanize.IBytes(uint64(*s.DiskFree)) + " free"
	}
	return " "
}

// statusRows returns the rows about backups, keys and requests.
func (i *invocation) statusRows(s *status) (rows [][]string) {
	if s.Checks["backup"].Status == "" {
		return nil // nothing else is known
	}
	if s.Nodes != nil {
		gone := " "
		if s.Nodes.Gone > 0 {
			gone = count(uint64(s.Nodes.Gone)) + " gone"
		}
		rows = append(rows, []string{"gates", count(uint64(s.Nodes.Live)) + " live", gone})
	}
	backup := never
	if s.LastBackup != nil {
		backup = ago(*s.LastBackup, i.now())
	}
	rows = append(rows, []string{"last backup", backup, " "})
	if s.Tokens != nil {
		counts := s.Tokens.Status
		var others []string
		for _, c := range []struct {
			n    int
			name string
		}{
			{counts.Expired, "expired"}, {counts.NotYetValid, "not yet valid"}, {counts.Disabled, "disabled"},
			{counts.Revoked, "revoked"}, {counts.Damaged, "damaged"},
		} {
			if c.n > 0 {
				others = append(others, count(uint64(c.n))+" "+c.name)
			}
		}
		rows = append(rows, []string{"API keys", count(uint64(counts.Active)) + " active",
			strings.Join(others, ", ") + " "}, []string{"admin keys", count(uint64(s.Tokens.Admin)), " "})
	}
	label := "expires next"
	for _, e := range s.ExpiresNext {
		rows = append(rows, []string{label, relative(e.ExpiresAt, i.now()), e.Name + " (" + e.ID + ")"})
		label = " "
	}
	today := s.RequestsToday
	refused := " "
	if total := today.Allowed + today.Refused; total > 0 {
		refused = fmt.Sprintf("%s refused (%.1f %%)", count(today.Refused), 100*float64(today.Refused)/float64(total))
	}
	return append(rows, []string{"today", count(today.Allowed) + " allowed", refused})
}
