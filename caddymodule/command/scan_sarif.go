package command

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/token"
)

// outputSARIF is the output format for code scanning: SARIF 2.1.0, as GitHub reads it.
const outputSARIF = "sarif"

// allowSARIF adds sarif to the values of --output.
func allowSARIF(flags *pflag.FlagSet) {
	output := flags.Lookup("output")
	output.Usage += ", or sarif for code scanning"
	choose(flags, "output", append(slices.Clone(output.Annotations[oneOf]), outputSARIF)...)
}

// findingResults returns a writer in the format that --output selects.
func (i *invocation) findingResults() (results[finding], error) {
	if i.output() != outputSARIF {
		return newResults(i, findingFields)
	}
	if i.flags.String("columns") != "" {
		return nil, usageErrorf("--columns: sarif has no columns")
	}
	// Without a current directory, all paths stay as they are.
	root, _ := os.Getwd()
	return &sarifResults{i: i, root: root, results: []sarifResult{}}, nil
}

// The types below are the parts of SARIF that scan writes. See sections 3.13 to 3.49 of
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID                   string             `json:"id"`
	Name                 string             `json:"name"`
	ShortDescription     sarifText          `json:"shortDescription"`
	FullDescription      sarifText          `json:"fullDescription"`
	Help                 sarifText          `json:"help"`
	DefaultConfiguration sarifConfiguration `json:"defaultConfiguration"`
	Properties           sarifProperties    `json:"properties"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifConfiguration struct {
	Level string `json:"level"`
}

type sarifProperties struct {
	Tags []string `json:"tags"`
	// SecuritySeverity is a score from 0.0 to 10.0, which GitHub shows as a severity.
	SecuritySeverity string `json:"security-severity"`
}

type sarifResult struct {
	RuleID    string    `json:"ruleId"`
	RuleIndex int       `json:"ruleIndex"`
	Level     string    `json:"level"`
	Message   sarifText `json:"message"`
	Locations []struct {
		PhysicalLocation sarifLocation `json:"physicalLocation"`
	} `json:"locations"`
	PartialFingerprints map[string]string `json:"partialFingerprints"`
}

type sarifLocation struct {
	ArtifactLocation struct {
		URI string `json:"uri"`
	} `json:"artifactLocation"`
	Region sarifRegion `json:"region"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn"`
	EndColumn   int `json:"endColumn"`
}

// newSARIFRule returns a rule about keys with certain statuses.
func newSARIFRule(id, name, level, severity, short, help string) sarifRule {
	return sarifRule{
		ID: id, Name: name, ShortDescription: sarifText{short}, FullDescription: sarifText{short + " " + help},
		Help: sarifText{help}, DefaultConfiguration: sarifConfiguration{level},
		Properties: sarifProperties{[]string{"security"}, severity},
	}
}

// sarifRules are the rules. Code scanning keeps track of findings by rule, so their IDs must not
// change.
var sarifRules = []sarifRule{
	newSARIFRule("active-api-key", "ActiveAPIKey", "error", "9.0", "This API key works.",
		"Revoke the key, or rotate it without a grace period, and remove it from the file. Anyone who can read the "+
			"file or its history can use the key."),
	newSARIFRule("unchecked-api-key", "UncheckedAPIKey", "error", "8.0", "This API key may work.",
		"The key was not looked up on its server. Find it with `caddy api-token show <id>`, revoke it, and remove it "+
			"from the file."),
	newSARIFRule("inactive-api-key", "InactiveAPIKey", "warning", "5.0", "This API key doesn't work at present.",
		"The key is disabled, damaged or not valid yet, so it may work later. Revoke it, and remove it from the file."),
	newSARIFRule("unknown-api-key", "UnknownAPIKey", "warning", "4.0", "The server doesn't know this API key.",
		"The key was deleted, or it belongs to another installation. Look it up there, revoke it, and remove it from "+
			"the file."),
	newSARIFRule("ended-api-key", "EndedAPIKey", "note", "1.0", "This API key no longer works.",
		"The key has expired or was revoked. Remove it from the file."),
}

// sarifRuleFor returns the index of the rule for a finding's status.
func sarifRuleFor(status string) int {
	id := "inactive-api-key"
	switch status {
	case token.StatusActive.String():
		id = "active-api-key"
	case token.StatusExpired.String(), token.StatusRevoked.String():
		id = "ended-api-key"
	case statusUnknown:
		id = "unknown-api-key"
	case statusUnchecked:
		id = "unchecked-api-key"
	}
	return slices.IndexFunc(sarifRules, func(r sarifRule) bool { return r.ID == id })
}

// sarifResults collects findings and writes them as a SARIF log.
type sarifResults struct {
	i       *invocation
	root    string
	results []sarifResult
}

func (r *sarifResults) write(f finding) error {
	rule := sarifRuleFor(f.Status)
	result := sarifResult{
		RuleID: sarifRules[rule].ID, RuleIndex: rule, Level: sarifRules[rule].DefaultConfiguration.Level,
		Message: sarifText{sarifMessage(f)},
		// The ID is public. A key that was moved to another line stays the same alert.
		PartialFingerprints: map[string]string{"mollygateKeyID/v1": f.ID},
	}
	result.Locations = append(result.Locations, struct {
		PhysicalLocation sarifLocation `json:"physicalLocation"`
	}{})
	location := &result.Locations[0].PhysicalLocation
	location.ArtifactLocation.URI = r.uri(f.Path)
	location.Region = sarifRegion{f.Line, f.Column, f.Column + token.SecretTextLength}
	r.results = append(r.results, result)
	return nil
}

func sarifMessage(f finding) string {
	text := fmt.Sprintf("%s (%s key %s", printable(f.Hint), f.Kind, f.ID)
	if f.Name != "" {
		text += ", " + printable(f.Name)
	}
	if f.Owner != "" {
		text += ", owner " + printable(f.Owner)
	}
	return text + ") is in this file. Status: " + printable(f.Status) + "."
}

// uri returns a path as a URI: relative to the current directory if the file is below it.
func (r *sarifResults) uri(path string) string {
	if path == "-" {
		return "stdin"
	}
	if filepath.IsAbs(path) {
		below, err := filepath.Rel(r.root, path)
		if err != nil || !filepath.IsLocal(below) {
			slashed := filepath.ToSlash(path)
			if slashed[0] != '/' { // a drive on Windows
				slashed = "/" + slashed
			}
			return (&url.URL{Scheme: "file", Path: slashed}).String()
		}
		path = below
	}
	return (&url.URL{Path: filepath.ToSlash(filepath.Clean(path))}).String()
}

func (r *sarifResults) end() error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: r.results}
	run.Tool.Driver = sarifDriver{Name: "Mollygate", InformationURI: "https://github.com/mollygate/mollygate",
		Rules: sarifRules}
	log := sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
	_, err := fmt.Fprintln(r.i.out, printableJSON(marshal(log)))
	return err
}
