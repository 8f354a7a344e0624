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

// Report is all that a run found.
type Report struct {
	Machine     Machine   `json:"machine"`
	Begun       time.Time `json:"begun"`
	Took        string    `json:"took"`
	Slices      int       `json:"slices"`
	Slice       string    `json:"slice"`
	Connections int       `json:"connections"`
	Pairs       []Pair    `json:"pairs,omitempty"`
	Verdicts    []Verdict `json:"verdicts,omitempty"`
	Scale       []Scale   `json:"scale,omitempty"`
}

// Machine is what was measured on, and what.
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
		revision := "of a tree without revision"
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
	for _, program := range [][]string{{"nginx", "-v"}, {"haproxy", "-v"}} {
		if out, err := exec.Command(program[0], program[1:]...).CombinedOutput(); err == nil { //nolint:gosec,noctx // one of two names
			first, _, _ := strings.Cut(string(out), "\n")
			m.Versions = append(m.Versions, strings.TrimPrefix(first, "nginx version: "))
		}
	}
	return m
}

// Verdict is whether a goal was reached.
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

// Where a control has to lie for the rows beside it to count, and how many slices it
// takes for that to mean something.
const (
	controlLow, controlHigh = 0.98, 1.02
	enoughSlices            = 21
)

// judge holds the rows against the goals.
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
			v.Verdict = fmt.Sprintf("%s: the control is at %.3f", noVerdict, control.Ratio.Median)
		} else if r.Slices < enoughSlices {
			v.Verdict = fmt.Sprintf("%s: %d slices are too few", noVerdict, r.Slices)
		}
		r.Verdicts = append(r.Verdicts, v)
	}
	for _, group := range []string{"respond", "respond over TLS", "proxy"} {
		gate, measured := rows[group+"/gate, 10k tokens"]
		if !measured {
			continue
		}
		most := 1.04
		if group == "proxy" {
			most = 1.02
		}
		add(fmt.Sprintf("%s: processor time of a request with the gate at most %.2f of that without", group, most),
			group, gate.Ratio.String(), gate.Ratio.Median <= most)
		if bad, ok := rows[group+"/gate, 10k tokens, half of them bad"]; ok && group == "respond" {
			add("respond: with every second token bad no more than with all good", group,
				fmt.Sprintf("%.2f against %.2f µs added", bad.Added, gate.Added), bad.Added <= gate.Added)
		}
		if forward, ok := rows[group+"/forward_auth"]; ok {
			add(group+": forward_auth adds at least 50 times as much", group,
				fmt.Sprintf("%.2f against %.2f µs: %.0f times", forward.Added, gate.Added, forward.Added/gate.Added),
				forward.Added >= 50*gate.Added)
		}
		if churned, ok := rows[group+"/gate, 10k tokens, 100 changes/s"]; ok {
			add(group+": with 100 changes a second the 99th percentile at most 1.1 of that without", group,
				churned.P99.String(), churned.P99.Median <= 1.1)
		}
		for name, row := range rows {
			if strings.HasPrefix(name, group+"/gate, ") && strings.HasSuffix(name, "M tokens") {
				add(group+": no slice with a large store above 1.3", group, fmt.Sprintf("%.3f at most", row.Ratio.Max),
					row.Ratio.Max <= 1.3)
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
	many := short(s.Tokens) + " tokens: "
	add(many+"the first answer at most 200 ms later than with none", fmt.Sprintf("%.0f ms later", s.Start-s.StartEmpty),
		s.Start-s.StartEmpty <= 200)
	add(many+"at most 64 MiB more memory until they are used", mebibytes(s.Memory), s.Memory <= 64<<20)
	add(many+"at most 200 bytes of memory each once used", fmt.Sprintf("%.0f bytes in %.1f objects", s.ActiveMemory,
		s.ActiveObjects), s.ActiveMemory <= 200)
	add(many+"garbage collected within 5 ms once all are used", fmt.Sprintf("%.1f ms", s.Collection), s.Collection <= 5)
	add(many+"at least 2000 creates a second from 64 callers", fmt.Sprintf("%.0f", s.CreatesPerSecond),
		s.CreatesPerSecond >= 2000)
	add(many+"a revoke at most 10 ms longer while use is being saved",
		fmt.Sprintf("p99 %.1f ms, %.1f ms otherwise", s.RevokeFlushP99, s.RevokeIdleP99),
		s.RevokeFlushP99-s.RevokeIdleP99 <= 10)
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// write writes the report to the terminal and to the files that were asked for.
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
			r.Begun.Format(time.DateOnly), r.Slices, r.Slice, r.Connections, r.Took)
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

// table is one table of the report.
type table struct {
	header []string
	rows   [][]string
}

func (r *Report) tables() []table {
	var tables []table
	if len(r.Pairs) > 0 {
		pairs := table{header: []string{"", "CPU ratio", "slices from .. to", "without µs", "with µs", "added µs",
			"requests ratio", "p50 µs", "p99 µs"}}
		for _, p := range r.Pairs {
			pairs.rows = append(pairs.rows, []string{
				p.Name, p.Ratio.String(), fmt.Sprintf("%.2f .. %.2f", p.Ratio.Min, p.Ratio.Max), number(p.Base),
				number(p.Cost), number(p.Added), fmt.Sprintf("%.3f", p.Rate.Median),
				fmt.Sprintf("%.0f → %.0f", p.BaseP50, p.CostP50), fmt.Sprintf("%.0f → %.0f", p.BaseP99, p.CostP99),
			})
		}
		tables = append(tables, pairs)
	}
	if len(r.Scale) > 0 {
		scale := table{header: []string{"a store with"}}
		lines := []struct {
			name string
			of   func(*Scale) string
		}{
			{"file", func(s *Scale) string { return mebibytes(s.FileSize) }},
			{"start to first answer (empty store)",
				func(s *Scale) string { return fmt.Sprintf("%.0f ms (%.0f ms)", s.Start, s.StartEmpty) }},
			{"memory over an empty store, unused", func(s *Scale) string { return mebibytes(s.Memory) }},
			{"memory of a used token",
				func(s *Scale) string {
					return fmt.Sprintf("%.0f B in %.1f objects", s.ActiveMemory,
						s.ActiveObjects)
				}},
			{"forced garbage collection, all used (none used)",
				func(s *Scale) string { return fmt.Sprintf("%.1f ms (%.1f ms)", s.Collection, s.CollectionBefore) }},
			{"find and count, in random order", func(s *Scale) string { return fmt.Sprintf("%.0f ns", s.Use) }},
			{"creates a second, 64 callers", func(s *Scale) string { return fmt.Sprintf("%.0f", s.CreatesPerSecond) }},
			{"revoke, p50 and p99",
				func(s *Scale) string { return fmt.Sprintf("%.2f, %.2f ms", s.RevokeIdleP50, s.RevokeIdleP99) }},
			{"revoke while use is saved, p50 and p99",
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
	return fmt.Sprintf("%.2f", v)
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
