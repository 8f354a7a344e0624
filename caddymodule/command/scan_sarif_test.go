package command

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// TestCommandScanSARIF checks the parts of the log that SARIF 2.1.0 and GitHub require.
func TestCommandScanSARIF(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	active, secret := s.create(t, "--name", "ci <&>", "--metadata", "owner=carol")
	revoked, old := s.create(t, "--name", "old")
	s.run("revoke", revoked, "--yes")
	disabled, off := s.create(t, "--name", "off")
	s.run("disable", disabled)
	dir := tree(t, map[string]string{"a file": "x\n\tkäy=" + secret, "b": old + off, "c": commandVector})
	got := s.run("scan", dir, "-o", "sarif")
	if got.code != exitRefused || got.err != "" {
		t.Errorf("got exit code %d, standard error %q", got.code, got.err)
	}
	for _, text := range []string{secret, old, off, commandVector} {
		if strings.Contains(got.out, text[20:]) {
			t.Error("the log contains a secret")
		}
	}
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct {
						ID                   string
						ShortDescription     struct{ Text string }
						DefaultConfiguration struct{ Level string }
					}
				}
			}
			ColumnKind string
			Results    []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn, EndColumn int }
					}
				}
				PartialFingerprints map[string]string
			}
		}
	}
	if err := json.Unmarshal([]byte(got.out), &log); err != nil || log.Version != "2.1.0" || len(log.Runs) != 1 ||
		log.Runs[0].Tool.Driver.Name == "" || log.Runs[0].ColumnKind != "unicodeCodePoints" {
		t.Fatalf("got log %s, error %v", got.out, err)
	}
	rules := log.Runs[0].Tool.Driver.Rules
	var found []string
	for _, r := range log.Runs[0].Results {
		if rules[r.RuleIndex].ID != r.RuleID || rules[r.RuleIndex].DefaultConfiguration.Level != r.Level ||
			r.Message.Text == "" || len(r.Locations) != 1 || len(r.PartialFingerprints) == 0 {
			t.Errorf("got result %+v", r)
		}
		l := r.Locations[0].PhysicalLocation
		found = append(found, fmt.Sprint(filepath.Base(l.ArtifactLocation.URI), " ", l.Region, " ", r.Level, " ",
			r.RuleID))
	}
	length := len(commandVector)
	if want := []string{
		fmt.Sprintf("a%%20file {2 6 %d} error active-api-key", 6+length),
		fmt.Sprintf("b {1 1 %d} note ended-api-key", 1+length),
		fmt.Sprintf("b {1 %d %d} warning inactive-api-key", 1+length, 1+2*length),
		fmt.Sprintf("c {1 1 %d} warning unknown-api-key", 1+length),
	}; !slices.Equal(found, want) {
		t.Errorf("got results\n%s\nwant\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
	if text := log.Runs[0].Results[0].Message.Text; !strings.Contains(text, active) ||
		!strings.Contains(text, "ci <&>") || !strings.Contains(text, "carol") {
		t.Errorf("got message %q", text)
	}
	empty := s.run("scan", tree(t, nil), "-o", "sarif")
	if empty.code != exitOK || !strings.Contains(empty.out, `"results":[]`) {
		t.Errorf("without findings: got unexpected outcome %+v", empty)
	}
	offline := s.run("scan", "--offline", dir, "-o", "sarif")
	if strings.Count(offline.out, `"ruleId":"unchecked-api-key"`) != 4 || !strings.Contains(offline.err, "--offline") {
		t.Errorf("offline: got unexpected outcome %+v", offline)
	}
	if got := s.run("scan", dir, "-o", "sarif", "--columns", "id"); got.code != exitUsage {
		t.Errorf("with --columns: got unexpected outcome %+v", got)
	}
}

// TestSARIFPaths checks that paths become URIs relative to the current directory, as GitHub
// expects them in the root of a repository.
func TestSARIFPaths(t *testing.T) {
	t.Parallel()
	r := &sarifResults{root: "/home/carol/src"}
	for path, want := range map[string]string{
		"a": "a", "./a/../b c": "b%20c", "d/é?#.txt": "d/%C3%A9%3F%23.txt", "a:b": "./a:b",
		"/home/carol/src/x": "x", "/etc/passwd": "file:///etc/passwd", "../x": "../x", "-": "stdin",
	} {
		if got := r.uri(path); got != want {
			t.Errorf("%s: got URI %q, want %q", path, got, want)
		}
	}
}

// TestCommandScanNames checks that scan names keys and their owners, and says so if it can't.
func TestCommandScanNames(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "my ci", "--metadata", "owner=carol")
	dir := tree(t, map[string]string{"a": "  " + secret})
	got := s.run("scan", dir)
	if want := id + " active my ci carol"; !strings.Contains(squeeze(got.out), want) || got.err != "" {
		t.Errorf("got %+v, want the columns %q", got, want)
	}
	var findings []finding
	got = s.run("scan", dir, "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &findings); err != nil || len(findings) != 1 ||
		findings[0].Owner != "carol" || findings[0].Name != "my ci" || findings[0].Column != 3 ||
		findings[0].Kind != "api" {
		t.Errorf("got %+v, error %v", got, err)
	}
	if got := s.run("scan", "--offline", dir); !strings.Contains(got.err, "name and owner are unknown (--offline)") ||
		!strings.Contains(got.out, "unchecked") {
		t.Errorf("offline: got unexpected outcome %+v", got)
	}
}

// TestCommandScanColumns checks the columns of keys in long lines, which scan reads in pieces.
func TestCommandScanColumns(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("é", scanBuffer) + commandVector + " " + commandVector
	for _, text := range []string{line, "x\n" + line + "\n"} {
		c := &console{in: iotest.HalfReader(strings.NewReader(text))}
		got := runCommand(c, "scan", "--offline", "-o", "json", "-")
		var findings []finding
		if err := json.Unmarshal([]byte(got.out), &findings); err != nil || len(findings) != 2 ||
			findings[0].Column != scanBuffer+1 || findings[1].Column != scanBuffer+2+len(commandVector) {
			t.Errorf("got %s, error %v", got.out, err)
		}
	}
}
