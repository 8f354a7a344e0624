package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestDashboardSnippets runs the snippets that the dashboard shows for a new key: the command
// in a shell, and the workflow's steps the way GitHub would.
func TestDashboardSnippets(t *testing.T) {
	t.Parallel()
	named := strings.Replace(browserSite, "http://127.0.0.1:{$HTTP}", "http://localhost:{$HTTP}", 1)
	for name, test := range map[string]struct{ caddyfile, page, gate string }{
		"host names from the README": {named, "http://keys.localhost:$PORT/", "http://localhost:$PORT"},
		"below a path": {`http://localhost:{$HTTP} {
	handle_path /keys/* {
		api_tokens_admin
	}
	handle {
		bearer_auth {
			routes mollymawk
		}
		reverse_proxy {$BACKEND}
	}
}`, "http://localhost:$PORT/keys/", "http://localhost:$PORT"},
		"other names": {strings.Replace(named, "keys.localhost", "admin.localhost", 1), "http://admin.localhost:$PORT/",
			"$MOLLY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.HasPrefix(test.caddyfile, globals) {
				test.caddyfile = globals + test.caddyfile
			}
			s := startSite(t, test.caddyfile, mollymawktest.Options{})
			fill := func(text string) string { return strings.ReplaceAll(text, "$PORT", s.env["HTTP"]) }
			d := &dashboard{browser: newBrowser(t), site: s, url: fill(test.page), admin: s.token("--kind", "admin")}
			d.open(d.url)
			d.signIn()
			d.press("New API key")
			d.fill("Name", "CI")
			d.press("read")
			d.press("Create key")
			key := d.secret()
			var snippets []string
			for i := range evaluate[int](d.browser, `document.querySelectorAll("dialog pre").length`) {
				snippets = append(snippets,
					evaluate[string](d.browser,
						fmt.Sprintf(`document.querySelectorAll("dialog pre")[%d].textContent`, i)))
			}
			if len(snippets) != 2 {
				t.Fatalf("got %d snippets, want 2", len(snippets))
			}
			text := d.text()
			if strings.Contains(text, "MOLLYMAWK_TOKEN") || !strings.Contains(text, "secret MOLLYGATE_KEY") ||
				strings.Contains(text, "MOLLY.") != strings.HasPrefix(test.gate, "$") {
				t.Errorf("the dialog shows the wrong text: %s", text)
			}
			for _, snippet := range snippets {
				checkNoSecret(t, "a snippet", snippet, key)
				if !strings.Contains(snippet, fill(test.gate)+"/api/unikernels") {
					t.Errorf("the snippet doesn't call the gate: %s", snippet)
				}
			}
			s.shell()
			s.env["MOLLYGATE_KEY"], s.env["MOLLY"] = key, fill("http://localhost:$PORT")
			run := func(script string) {
				t.Helper()
				before := len(s.backend.Requests())
				out, err := s.bash("set -e\n" + script)
				if err != nil || !strings.Contains(out, `"success":true`) || len(s.backend.Requests()) != before+1 {
					t.Errorf("%v: %s\n%s", err, script, out)
				}
				checkNoSecret(t, "the output", out, key)
			}
			run(snippets[0])
			for _, step := range workflowSteps(t, snippets[1]) {
				for variable, value := range step.Env {
					switch value {
					case "${{ secrets.MOLLYGATE_KEY }}", "${{ vars.MOLLY }}":
					default:
						t.Errorf("the variable %s has an unknown value: %s", variable, value)
					}
				}
				if step.Env["MOLLYGATE_KEY"] == "" || strings.Contains(step.Run, "${{") {
					t.Errorf("the step has environment %v for the command %s", step.Env, step.Run)
				}
				run("bash -e " + s.write("step.sh", step.Run))
			}
			// A bad key makes the job fail.
			s.env["MOLLYGATE_KEY"] = "mmk_nonsense"
			if out, err := s.bash("set -e\n" + snippets[0]); err == nil {
				t.Errorf("the snippet succeeded with a bad key: %s", out)
			}
			if status, _, _ := curl(t, append(bearer(key), "-H", fill("Host: localhost:$PORT"),
				s.url("/api/unikernels"))...); status != http.StatusOK {
				t.Errorf("got status %d", status)
			}
			s.checkLogs(key)
		})
	}
}

type workflowStep struct {
	Name, Run string
	Env       map[string]string
}

// workflowSteps parses a GitHub workflow. Unknown fields are errors.
func workflowSteps(t *testing.T, text string) (steps []workflowStep) {
	t.Helper()
	var workflow struct {
		Name, On string
		Jobs     map[string]struct {
			RunsOn      string `yaml:"runs-on"`
			Permissions map[string]string
			Steps       []workflowStep
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&workflow); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if workflow.On == "" || len(workflow.Jobs) != 1 {
		t.Errorf("the workflow never runs:\n%s", text)
	}
	for _, job := range workflow.Jobs {
		if job.RunsOn == "" || len(job.Steps) == 0 {
			t.Errorf("the job has nothing to run:\n%s", text)
		}
		steps = append(steps, job.Steps...)
	}
	return steps
}
