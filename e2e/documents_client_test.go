package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// unikernelImage is the image uploaded by the pages' commands.
var unikernelImage = string(mollymawktest.Image(mollymawktest.Manifest{}, []byte("web")))

// TestClientPage runs the commands from docs/client.md. It first rotates the key, so that the
// page's job gets the warning. Before the commands that show retries, it sets a rate limit.
func TestClientPage(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--scope", "*", "--scope", "monitoring:*", "--expires-in", "20d")
	if _, stderr, code := s.run("api-token", "rotate", tokenID(token), "--grace", "1d"); code != 0 {
		t.Fatal(stderr)
	}
	s.shell()
	s.env["MOLLYGATE_KEY"], s.env["MOLLY"] = token, s.url("")
	s.write("web.hvt", unikernelImage)
	s.write("disk.img", "a disk")
	const (
		console = `"$MOLLY/api/unikernel/console?instance=default&unikernel=web"`
		again   = "curl -sS --fail-with-body --retry 6"
	)
	spoken := make(chan struct{})
	go func() { // the unikernel writes to its console once it exists
		defer close(spoken)
		for t.Context().Err() == nil && !s.backend.Emit("alice", "default", "web", "the unikernel speaks") {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	out, err := s.bash(commands(t, "docs/client.md", nil,
		change{"PRESENT-BUILD-UUID", "5b8a1f4e-3d2c-4f6a-8b1e-9c7d6e5f4a3b", "the page has no real build UUID"},
		change{"NEW-BUILD-UUID", "6c9b2a5f-4e3d-4a7b-9c2f-0d8e7f6a5b4c", "the page has no real build UUID"},
		change{"--max-time 60", "--max-time 2", "a console never ends on its own"},
		change{console, console + " || [ $? = 28 ]", "curl exits with 28 on a timeout"},
		change{again, "caddy api-token edit " + tokenID(token) + ` --rate-limit 1/10s
curl -sS --fail -o /dev/null -H "Authorization: Bearer $MOLLYGATE_KEY" "$MOLLY/api/unikernels"
` + again, "the retry must have to wait"},
	))
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	<-spoken
	for _, want := range []string{"the unikernel speaks", "Api-Key-Warning: rotated", "ask for a new token"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, `"success":false`) {
		t.Errorf("a call failed:\n%s", out)
	}
	if allowed, denied := s.usage(token); int(allowed) != len(s.backend.Requests()) || denied != 2 {
		// The gate probes the instance once before the first download, and itself responds to one
		// question about the key.
		t.Errorf("%d requests were allowed and %d refused, want 2 refused: a retried GET and POST",
			allowed, denied)
	}
	var names []string
	for _, unikernel := range s.backend.Unikernels("alice") {
		names = append(names, unikernel.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"shop", "site"}) {
		t.Errorf("got remaining unikernels %q", names)
	}
	if data, err := os.ReadFile(s.path("data.img")); err != nil || !strings.HasPrefix(string(data), "a disk") {
		t.Errorf("checking the download: error %v, data %.20q", err, data)
	}
	checkNoSecret(t, "the output", out, token)
	s.checkBackend(token)
	s.checkLogs(token)
}

// TestPipelines parses the GitHub and GitLab CI configurations in docs/client.md and runs
// their steps as these services would.
func TestPipelines(t *testing.T) {
	t.Parallel()
	for _, b := range fenced(t, "docs/client.md", "yaml") {
		t.Run(fmt.Sprint(b.number), func(t *testing.T) {
			t.Parallel()
			s := startSite(t, plainSite, mollymawktest.Options{})
			token := s.token("--preset", "deploy")
			s.shell()
			s.write("web.built", unikernelImage)
			s.write("Makefile", "web.hvt:\n\tcp web.built $@\n")
			s.env["CI"] = "true"
			script := pipeline(t, s, b.text, token)
			out, err := s.bash(script)
			if err != nil {
				t.Fatalf("%v:\n%s", err, out)
			}
			checkNoSecret(t, "the job's log", out, token)
			if got := s.names(t, token); len(got) != 1 || got[0] != "web" {
				t.Errorf("the pipeline deployed %q:\n%s", got, out)
			}
		})
	}
}

// pipeline returns the commands of a GitHub workflow or GitLab job, preceded by the variables
// that the service would set.
func pipeline(t *testing.T, s *site, text, token string) string {
	t.Helper()
	var github struct {
		Jobs map[string]struct {
			RunsOn      string `yaml:"runs-on"`
			Environment string
			Permissions map[string]string
			Concurrency string
			Steps       []struct {
				Name, Uses, Run string
				Env             map[string]string
			}
		}
	}
	var gitlab map[string]struct {
		Stage, Environment, Image string
		ResourceGroup             string `yaml:"resource_group"`
		Rules                     []struct{ If string }
		Variables                 map[string]string
		Script                    []string
	}
	set := func(variables map[string]string) {
		for name, value := range variables {
			switch value {
			case "https://molly.example.com":
				value = s.url("")
			case "${{ secrets.MOLLYGATE_KEY }}":
				value = token
			}
			if strings.Contains(value, "${{") {
				t.Errorf("the variable %s has an unknown value: %s", name, value)
			}
			s.env[name] = value
		}
	}
	var script strings.Builder
	if err := decodeStrictly(text, &github); err == nil {
		s.env["GITHUB_ACTIONS"] = "true"
		for _, step := range github.Jobs["deploy"].Steps {
			set(step.Env)
			if strings.Contains(step.Run, "${{") {
				t.Errorf("the script of step %q contains a workflow expression", step.Name)
			}
			// GitHub writes each step to a file and runs the file with "bash -e".
			if step.Run != "" {
				file := s.write(fmt.Sprintf("step%d.sh", script.Len()), step.Run)
				script.WriteString("bash -e " + file + "\n")
			}
		}
		return "set -e\n" + script.String()
	} else if gitlabErr := decodeStrictly(text, &gitlab); gitlabErr != nil {
		t.Fatalf("neither a GitHub workflow (%v) nor a GitLab job (%v):\n%s", err, gitlabErr, text)
	}
	s.env["GITLAB_CI"], s.env["MOLLYGATE_KEY"] = "true", token
	s.write("web.hvt", unikernelImage) // an artifact from an earlier job
	set(gitlab["deploy"].Variables)
	return "set -eo pipefail\n" + strings.Join(gitlab["deploy"].Script, "\n")
}

func decodeStrictly(text string, into any) error {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	return decoder.Decode(into)
}
