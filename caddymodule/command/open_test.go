package command

import (
	"regexp"
	"strings"
	"testing"
)

// TestOpen checks that open prints a link, and how it chooses a dashboard.
func TestOpen(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	link := regexp.MustCompile(`^\S+#signin=[A-Z2-7]{26}\n$`)
	two := []string{"https://a.example/", "https://b.example/"}
	for name, test := range map[string]struct {
		dashboards []string
		args       []string
		want       string // the start of the link
		err        string
		code       int
	}{
		"one":       {dashboards: []string{"https://keys.example.com/"}, want: "https://keys.example.com/#"},
		"local":     {dashboards: []string{"http://localhost:8082/keys/"}, want: "http://localhost:8082/keys/#"},
		"loopback":  {dashboards: []string{"http://127.0.0.1:8082/"}, want: "http://127.0.0.1:8082/#"},
		"none":      {err: "api_tokens_admin", code: exitUsage},
		"several":   {dashboards: two, err: "https://b.example/", code: exitUsage},
		"not https": {dashboards: []string{"http://keys.example.com/"}, err: "isn't encrypted", code: exitUsage},
		"chosen": {dashboards: two, args: []string{"--url", "https://c.example/x"},
			want: "https://c.example/x/#"},
		"not an address": {args: []string{"--url", "keys.example.com"}, err: "--url", code: exitUsage},
		"a secret":       {args: []string{"--url", "https://a.example/#signin=x"}, err: "--url", code: exitUsage},
		"an argument":    {args: []string{"x"}, err: "--url", code: exitUsage},
	} {
		s.dashboards = test.dashboards
		got := s.run(append([]string{"open"}, test.args...)...)
		if got.code != test.code || !strings.Contains(got.err, test.err) || !strings.HasPrefix(got.out, test.want) ||
			test.want == "" && got.out != "" {
			t.Errorf("%s: got %+v", name, got)
		}
		if test.want != "" && (!link.MatchString(got.out) || !strings.Contains(got.err, "works once")) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if got := s.run("open", "--end"); got.code != exitOK || got.out != "" || !strings.Contains(got.err, "Ended") {
		t.Errorf("--end: got %+v", got)
	}
}
