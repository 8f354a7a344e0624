package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"go.yaml.in/yaml/v3"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestDashboardSnippets runs the snippets that the dashboard shows for a new key: the commands
// in a shell, and the jobs the way GitHub and GitLab would.
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
			"http://localhost:$PORT"},
		"any name": {strings.NewReplacer("http://localhost:{$HTTP}", "http://:{$HTTP}", "keys.localhost",
			"admin.localhost").Replace(named), "http://admin.localhost:$PORT/", "$MOLLY"},
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
			d.allowClipboard()
			d.signIn()
			d.newKey("CI")
			d.press("Create key")
			key := d.secret()
			snippets := d.snippets(strings.HasPrefix(test.gate, "$"))
			for tab, snippet := range snippets {
				checkNoSecret(t, "the snippet "+tab, snippet, key)
				if !strings.Contains(snippet, fill(test.gate)+"/api/unikernels") {
					t.Errorf("the snippet %s doesn't call the gate: %s", tab, snippet)
				}
			}
			d.hides("MOLLYMAWK_TOKEN")
			s.shell()
			s.env["MOLLYGATE_KEY"], s.env["MOLLY"] = key, fill("http://localhost:$PORT")
			run := func(shell, script string) {
				t.Helper()
				file := s.write("snippet.sh", script)
				if out, err := s.bash(shell + " -n " + file); err != nil {
					t.Errorf("%v: %s\n%s", err, script, out)
				}
				before := len(s.backend.Requests())
				out, err := s.bash(shell + " -e " + file)
				if err != nil || !strings.Contains(out, `"success":true`) || len(s.backend.Requests()) != before+1 {
					t.Errorf("%v: %s\n%s", err, script, out)
				}
				checkNoSecret(t, "the output", out, key)
			}
			run("bash", snippets["curl"])
			run("sh", snippets["Shell"])
			for _, step := range workflowSteps(t, snippets["GitHub Actions"]) {
				for variable, value := range step.Env {
					switch value {
					case "${{ secrets.MOLLYGATE_KEY }}", "${{ vars.MOLLY }}":
					default:
						t.Errorf("the variable %s has an unknown value: %s", variable, value)
					}
				}
				if step.Env["MOLLYGATE_KEY"] == "" || strings.Contains(step.Run, "${{") ||
					(step.Env["MOLLY"] != "") != strings.HasPrefix(test.gate, "$") {
					t.Errorf("the step has environment %v for the command %s", step.Env, step.Run)
				}
				run("bash", step.Run) // as GitHub does
			}
			for _, line := range pipelineScript(t, snippets["GitLab CI"]) {
				run("sh", line)
			}
			d.shows("First request: GET /api/unikernels from 127.0.0.1")
			// A bad key makes the jobs fail, and a missing variable makes the script fail.
			s.env["MOLLYGATE_KEY"] = "mmk_nonsense"
			for _, tab := range []string{"curl", "Shell"} {
				if out, err := s.bash("sh -e " + s.write("snippet.sh", snippets[tab])); err == nil {
					t.Errorf("the snippet %s succeeded with a bad key: %s", tab, out)
				}
			}
			delete(s.env, "MOLLYGATE_KEY")
			if out, err := s.bash("sh " + s.write("snippet.sh", snippets["Shell"])); err == nil ||
				!strings.Contains(out, "MOLLYGATE_KEY: is not set") {
				t.Errorf("without a key, the script reports: %v, %s", err, out)
			}
			if status, _, _ := curl(t, append(bearer(key), "-H", fill("Host: localhost:$PORT"),
				s.url("/api/unikernels"))...); status != http.StatusOK {
				t.Errorf("got status %d", status)
			}
			s.checkLogs(key)
		})
	}
}

// snippets returns the snippets of the open panel by their tabs' names. It checks their copy
// buttons and the notes about variables that they need.
func (d *dashboard) snippets(needsGate bool) map[string]string {
	d.t.Helper()
	snippets := make(map[string]string)
	for tab, hint := range map[string]string{
		"curl":           "read -rs MOLLYGATE_KEY",
		"GitHub Actions": "Save the key as the repository secret MOLLYGATE_KEY.",
		"GitLab CI":      "Save the key as the masked CI/CD variable MOLLYGATE_KEY.",
		"Shell":          "Set MOLLYGATE_KEY to the key in the environment.",
	} {
		d.press(tab)
		d.shows(hint)
		d.checkDialog()
		if strings.Contains(d.text(), "Also set MOLLY to the gate's URL.") != needsGate {
			d.t.Errorf("the tab %s shows the wrong hints: %s", tab, d.text())
		}
		snippets[tab] = evaluate[string](d.browser, `document.querySelector("dialog pre").textContent`)
		d.do(chromedp.Click(chromedp.CSS("dialog .snippet button")))
		d.eventually("the snippet "+tab+" is copied", func() bool { return d.clipboard() == snippets[tab] })
	}
	return snippets
}

type workflowStep struct {
	Name, Run string
	Env       map[string]string
}

// workflowSteps parses a GitHub workflow. Unknown fields are errors.
func workflowSteps(t *testing.T, text string) (steps []workflowStep) {
	t.Helper()
	var workflow struct {
		Name string
		On   []string
		Jobs map[string]struct {
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
	if !slices.Equal(workflow.On, []string{"push", "workflow_dispatch"}) || len(workflow.Jobs) != 1 ||
		len(workflow.Jobs["mollymawk"].Steps) == 0 {
		t.Errorf("the workflow never runs, or its job has another name:\n%s", text)
	}
	for _, job := range workflow.Jobs {
		if job.RunsOn == "" || len(job.Steps) == 0 {
			t.Errorf("the job has nothing to run:\n%s", text)
		}
		steps = append(steps, job.Steps...)
	}
	return steps
}

// pipelineScript parses a GitLab pipeline, and returns its job's commands. Unknown fields are
// errors.
func pipelineScript(t *testing.T, text string) []string {
	t.Helper()
	var jobs map[string]struct {
		Image  string
		Script []string
	}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&jobs); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	job := jobs["mollymawk"]
	if len(jobs) != 1 || job.Image != "curlimages/curl" || len(job.Script) == 0 {
		t.Errorf("the job has nothing to run:\n%s", text)
	}
	return job.Script
}
