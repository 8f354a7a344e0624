package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// Report holds a run's results.
type Report struct {
	Machine     Machine   `json:"machine"`
	Started     time.Time `json:"begun"`
	Took        string    `json:"took"`
	Slices      int       `json:"slices"`
	Slice       string    `json:"slice"`
	Connections int       `json:"connections"`
	Pairs       []Pair    `json:"pairs,omitempty"`
	Verdicts    []Verdict `json:"verdicts,omitempty"`
	Scale       []Scale   `json:"scale,omitempty"`
}

// Machine describes the machine and the versions of the measured software.
type Machine struct {
	Processor  string   `json:"processor"`
	Processors int      `json:"processors"`
	Kernel     string   `json:"kernel"`
	Go         string   `json:"go"`
	Versions   []string `json:"versions"`
}

func (m Machine) String() string {
	return fmt.Sprintf("%d x %s, %s, %s; %s", m.Processors, m.Processor, m.Kernel, m.Go, strings.Join(m.Versions, ", "))
}

func describeMachine() Machine {
	m := Machine{Processor: processorName(), Processors: runtime.NumCPU(), Kernel: kernelRelease(),
		Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		revision := "(unknown revision)"
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value[:min(len(setting.Value), 12)]
			}
		}
		m.Versions = append(m.Versions, "Mollygate "+revision)
		for _, dependency := range info.Deps {
			switch dependency.Path {
			case "github.com/caddyserver/caddy/v2":
				m.Versions = append(m.Versions, "Caddy "+dependency.Version)
			case "go.etcd.io/bbolt":
				m.Versions = append(m.Versions, "bbolt "+dependency.Version)
			}
		}
	}
	for _, program := range []string{"nginx", "haproxy"} {
		command := exec.Command(program, "-v") //nolint:gosec,noctx // one of two fixed names
		if out, err := command.CombinedOutput(); err == nil {
			first, _, _ := strings.Cut(string(out), "\n")
			m.Versions = append(m.Versions, strings.TrimPrefix(first, "nginx version: "))
		}
	}
	return m
}

// Verdict is the result of comparing a figure with its goal.
type Verdict struct {
	Goal    string `json:"goal"`
	Figure  string `json:"figure"`
	Verdict string `json:"verdict"`
}

const (
	reached    = "reached"
	notReached = "not reached"
	noVerdict  = "no verdict"
)

// A group of rows receives verdicts only if its control's ratio is within these limits and
// there are at least enoughSlices slices.
const (
	controlLow, controlHigh = 0.98, 1.02
	enoughSlices            = 21
)

// judge compares the results with the goals.
func (r *Report) judge() {
	controls, rows := make(map[string]Pair), make(map[string]Pair)
	for _, p := range r.Pairs {
		group, _, _ := strings.Cut(p.Name, "/")
		rows[p.Name] = p
		if p.Control {
			controls[group] = p
		}
	}
	add := func(goal, group string, figure string, ok bool) {
		v := Verdict{Goal: goal, Figure: figure, Verdict: notReached}
		if ok {
			v.Verdict = reached
		}
		if control := controls[group]; control.Ratio.Median < controlLow || control.Ratio.Median > controlHigh {
			v.Verdict = fmt.Sprintf("%s: control ratio is %.3f", noVerdict, control.Ratio.Median)
		} else if r.Slices < enoughSlices {
			v.Verdict = fmt.Sprintf("%s: only %d slices", noVerdict, r.Slices)
		}
		r.Verdicts = append(r.Verdicts, v)
	}
	for _, group := range []string{"respond", "respond over TLS", "proxy"} {
		limit := 1.08
		if group == "proxy" {
			limit = 1.05
		}
		few, isFew := rows[group+"/gate, 1 token"]
		many, isMany := rows[group+"/gate, 10k tokens"]
		for _, gate := range []Pair{few, many} {
			if gate.Name != "" {
				add(fmt.Sprintf("%s: CPU time per request is at most %.2f times the time without the gate",
					gate.Name, limit), group, gate.Ratio.String(), gate.Ratio.Median <= limit)
			}
		}
		if basic, ok := rows[group+"/basic_auth"]; ok && isFew {
			add(few.Name+": costs no more than basic_auth", group,
				fmt.Sprintf("%.3f vs. %.3f", few.Ratio.Median, basic.Ratio.Median),
				few.Ratio.Median <= basic.Ratio.Median)
		}
		if !isMany {
			continue
		}
		if limited, ok := rows[many.Name+", limits"]; ok {
			add(limited.Name+": limits add at most 0.02", group,
				fmt.Sprintf("%.3f vs. %.3f", limited.Ratio.Median, many.Ratio.Median),
				limited.Ratio.Median-many.Ratio.Median <= 0.02)
		}
		if invalid, ok := rows[many.Name+", half invalid"]; ok && group == "respond" {
			add("respond: requests cost no more if half of the tokens are invalid", group,
				fmt.Sprintf("adds %.2f vs. %.2f µs", invalid.Added, many.Added), invalid.Added <= many.Added)
		}
		if forward, ok := rows[group+"/forward_auth"]; ok {
			add(group+": forward_auth adds at least 20 times as much as the gate", group,
				fmt.Sprintf("%.2f vs. %.2f µs: %.0f times", forward.Added, many.Added, forward.Added/many.Added),
				forward.Added >= 20*many.Added)
		}
		if churned, ok := rows[many.Name+", 100 changes/s"]; ok {
			add(group+": 100 changes per second raise the 99th percentile by at most a factor of 1.1", group,
				churned.P99.String(), churned.P99.Median <= 1.1)
		}
		for name, row := range rows {
			if strings.HasPrefix(name, group+"/gate, ") && strings.HasSuffix(name, "M tokens") {
				add(group+": no slice with a large store has a ratio above 1.3", group,
					fmt.Sprintf("maximum %.3f", row.Ratio.Max), row.Ratio.Max <= 1.3)
			}
		}
	}
	if len(r.Scale) > 0 {
		r.judgeScale(r.Scale[len(r.Scale)-1])
	}
}

func (r *Report) judgeScale(s Scale) {
	add := func(goal, figure string, ok bool) {
		verdict := notReached
		if ok {
			verdict = reached
		}
		r.Verdicts = append(r.Verdicts, Verdict{Goal: goal, Figure: figure, Verdict: verdict})
	}
	prefix := short(s.Tokens) + " tokens: "
	add(prefix+"first response is at most 200 ms later than with an empty store",
		fmt.Sprintf("%.0f ms later", s.Start-s.StartEmpty), s.Start-s.StartEmpty <= 200)
	add(prefix+"an unused store takes at most 64 MiB more memory", mebibytes(s.Memory), s.Memory <= 64<<20)
	add(prefix+"each used token takes at most 200 bytes of memory",
		fmt.Sprintf("%.0f bytes in %.1f objects", s.ActiveMemory, s.ActiveObjects), s.ActiveMemory <= 200)
	add(prefix+"garbage collection takes at most 5 ms after all tokens have been used",
		fmt.Sprintf("%.1f ms", s.Collection), s.Collection <= 5)
	add(prefix+"64 callers create at least 2000 tokens per second", fmt.Sprintf("%.0f", s.CreatesPerSecond),
		s.CreatesPerSecond >= 2000)
	add(prefix+"revoking a token takes at most 10 ms longer during a flush",
		fmt.Sprintf("p99 %.1f ms, otherwise %.1f ms", s.RevokeFlushP99, s.RevokeIdleP99),
		s.RevokeFlushP99-s.RevokeIdleP99 <= 10)
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// write judges the results and writes the report to standard output and to the files specified
// in o.
func (r *Report) write(o options) error {
	r.judge()
	tables := r.tables()
	var text strings.Builder
	for _, t := range tables {
		t.writeText(&text)
	}
	fmt.Print(text.String())
	var errs []error
	if o.markdown != "" {
		var markdown strings.Builder
		fmt.Fprintf(&markdown, "%s\n\n%s, %d slices of %s, %d connections to each server; took %s.\n", r.Machine,
			r.Started.Format(time.DateOnly), r.Slices, r.Slice, r.Connections, r.Took)
		for _, t := range tables {
			t.writeMarkdown(&markdown)
		}
		errs = append(errs, os.WriteFile(o.markdown, []byte(markdown.String()), 0o644))
	}
	if o.json != "" {
		content, err := json.MarshalIndent(r, "", "\t")
		errs = append(errs, err, os.WriteFile(o.json, append(content, '\n'), 0o644))
	}
	return errors.Join(errs...)
}

// table is a table in the report.
type table struct {
	header []string
	rows   [][]string
}

func (r *Report) tables() []table {
	var tables []table
	if len(r.Pairs) > 0 {
		pairs := table{header: []string{"", "CPU ratio", "slice range", "CPU µs", "added µs", "p99 µs"}}
		for _, p := range r.Pairs {
			pairs.rows = append(pairs.rows, []string{
				p.Name, p.Ratio.String(), fmt.Sprintf("%.2f .. %.2f", p.Ratio.Min, p.Ratio.Max),
				number(p.Base) + " → " + number(p.Cost), number(p.Added),
				fmt.Sprintf("%.0f → %.0f", p.BaseP99, p.CostP99),
			})
		}
		tables = append(tables, pairs)
	}
	if len(r.Scale) > 0 {
		scale := table{header: []string{"store"}}
		lines := []struct {
			name string
			of   func(*Scale) string
		}{
			{"file", func(s *Scale) string { return mebibytes(s.FileSize) }},
			{"start to first response (empty store)",
				func(s *Scale) string { return fmt.Sprintf("%.0f ms (%.0f ms)", s.Start, s.StartEmpty) }},
			{"additional memory, unused", func(s *Scale) string { return mebibytes(s.Memory) }},
			{"memory per used token",
				func(s *Scale) string {
					return fmt.Sprintf("%.0f B in %.1f objects", s.ActiveMemory,
						s.ActiveObjects)
				}},
			{"forced garbage collection, all used (none used)",
				func(s *Scale) string { return fmt.Sprintf("%.1f ms (%.1f ms)", s.Collection, s.CollectionBefore) }},
			{"authenticate and count, random order", func(s *Scale) string { return fmt.Sprintf("%.0f ns", s.Use) }},
			{"tokens created per second, 64 callers",
				func(s *Scale) string { return fmt.Sprintf("%.0f", s.CreatesPerSecond) }},
			{"revoke, p50 and p99",
				func(s *Scale) string { return fmt.Sprintf("%.2f, %.2f ms", s.RevokeIdleP50, s.RevokeIdleP99) }},
			{"revoke during a flush, p50 and p99",
				func(s *Scale) string { return fmt.Sprintf("%.2f, %.2f ms", s.RevokeFlushP50, s.RevokeFlushP99) }},
		}
		for _, line := range lines {
			row := []string{line.name}
			for i := range r.Scale {
				row = append(row, line.of(&r.Scale[i]))
			}
			scale.rows = append(scale.rows, row)
		}
		for _, s := range r.Scale {
			scale.header = append(scale.header, short(s.Tokens)+" tokens")
		}
		tables = append(tables, scale)
	}
	if len(r.Verdicts) > 0 {
		verdicts := table{header: []string{"goal", "figure", "verdict"}}
		for _, v := range r.Verdicts {
			verdicts.rows = append(verdicts.rows, []string{v.Goal, v.Figure, v.Verdict})
		}
		tables = append(tables, verdicts)
	}
	return tables
}

func number(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.1f", v)
}

func (t table) writeText(b *strings.Builder) {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	b.WriteByte('\n')
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			b.WriteString(cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2))
		}
		b.WriteByte('\n')
	}
}

func (t table) writeMarkdown(b *strings.Builder) {
	b.WriteString("\n| " + strings.Join(t.header, " | ") + " |\n|" + strings.Repeat("---|", len(t.header)) + "\n")
	for _, row := range t.rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
}
