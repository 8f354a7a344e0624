package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

const monitoring = "../monitoring"

// prometheusServer is a Prometheus server that scrapes Caddy every second and evaluates our
// alerts.
type prometheusServer struct {
	t       *testing.T
	address string
}

func startPrometheus(t *testing.T, target string) *prometheusServer {
	t.Helper()
	rules, err := filepath.Abs(filepath.Join(monitoring, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(
		"global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n"+
			"  - {job_name: caddy, static_configs: [{targets: [%q]}]}\n", rules, target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &prometheusServer{t, "127.0.0.1:" + freePort(t)}
	ctx, stop := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, "prometheus", "--config.file", config, "--storage.tsdb.path",
		filepath.Join(dir, "data"), "--web.listen-address", p.address, "--log.level", "warn")
	log := new(output)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("Prometheus:\n%s", log)
		}
	})
	return p
}

// get queries Prometheus's API and decodes the data. It reports whether Prometheus responded.
func (p *prometheusServer) get(path string, query url.Values, data any) bool {
	p.t.Helper()
	response, err := http.Get("http://" + p.address + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return false
	}
	if response.StatusCode == http.StatusBadRequest {
		p.t.Fatalf("%s %v: %s", path, query, body)
	}
	return json.Unmarshal(body, &struct {
		Data any `json:"data"`
	}{data}) == nil && response.StatusCode == http.StatusOK
}

// samples returns the samples that match a query.
func (p *prometheusServer) samples(query string) (values []string) {
	p.t.Helper()
	var data struct {
		Result []struct {
			Value [2]any `json:"value"`
		} `json:"result"`
	}
	if !p.get("query", url.Values{"query": {query}}, &data) {
		return nil
	}
	for _, result := range data.Result {
		values = append(values, fmt.Sprint(result.Value[1]))
	}
	return values
}

// TestMonitoring runs a real Prometheus that scrapes a real Caddy. It checks that each query
// in the Grafana dashboard returns data, and that no alert uses a metric that doesn't exist.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite+"\nhttp://127.0.0.1:{$HTTPS} {\n\tmetrics\n}\n", mollymawktest.Options{})
	token := s.token("--preset", "read", "--expires-in", "3d")
	p := startPrometheus(t, "127.0.0.1:"+s.env["HTTPS"])
	s.eventually("Prometheus scrapes", func() bool { return len(p.samples("caddy_api_tokens_store_up == 1")) == 1 })
	// Rates cover the last minute, and the gate times only one decision in 64, so keep sending
	// requests until the end of the test.
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			request, err := http.NewRequest(http.MethodGet, s.url([]string{"/api/unikernels", "/x"}[i%2]), nil)
			if err != nil {
				t.Error(err)
				return
			}
			request.Header.Set("Authorization", "Bearer "+token)
			if response, err := http.DefaultClient.Do(request); err != nil {
				t.Error(err)
			} else if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(monitoring, "grafana-dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries++
			query := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$instance", ".*").Replace(target.Expr)
			s.eventually(fmt.Sprintf("%q has data: %s", panel.Title, query), func() bool {
				values := p.samples(query)
				return len(values) > 0 && values[0] != "NaN"
			})
		}
	}
	if queries < 15 {
		t.Errorf("the dashboard has only %d queries", queries)
	}
	s.eventually("the dashboard shows requests", func() bool {
		return len(p.samples(`sum(rate(caddy_bearer_auth_requests_total{outcome="ok"}[1m])) > 0 and `+
			`sum(rate(caddy_bearer_auth_requests_total{outcome="route_not_allowed"}[1m])) > 0`)) == 1
	})

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	s.eventually("the alerts are evaluated", func() bool {
		if !p.get("rules", nil, &rules) || len(rules.Groups) != 1 {
			return false
		}
		for _, rule := range rules.Groups[0].Rules {
			if rule.Health != "ok" {
				return false
			}
		}
		return true
	})
	if n := len(rules.Groups[0].Rules); n != 13 {
		t.Errorf("got %d alerts, want 13", n)
	}
	// An alert on a metric that doesn't exist never fires.
	selectors := regexp.MustCompile(`caddy_\w+(\{[^}]*\})?`)
	for _, rule := range rules.Groups[0].Rules {
		for _, selector := range selectors.FindAllString(rule.Query, -1) {
			// TestSharedMetrics in caddymodule checks the metrics that only shared stores have.
			if selector != "caddy_api_tokens_replica_age_seconds" && len(p.samples(selector)) == 0 {
				t.Errorf("%s uses %s, which doesn't exist", rule.Name, selector)
			}
		}
	}
}

// TestAlertRules tests the conditions under which each alert fires.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), "promtool", "test", "rules",
		filepath.Join(monitoring, "alerts_test.yml")).CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
