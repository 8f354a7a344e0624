package gate

import (
	"net/http"
	"slices"
	"testing"
)

func TestRemoveCookie(t *testing.T) {
	for name, tt := range map[string]struct {
		lines, want []string
	}{
		"only":             {[]string{"ours=1"}, nil},
		"first":            {[]string{"ours=1; a=2; b=3"}, []string{"a=2; b=3"}},
		"middle":           {[]string{"a=2; ours=1; b=3"}, []string{"a=2; b=3"}},
		"last":             {[]string{"a=2; b=3; ours=1"}, []string{"a=2; b=3"}},
		"twice":            {[]string{"ours=1; a=2;ours=3"}, []string{"a=2"}},
		"several lines":    {[]string{"ours=1", "a=2", "b=3; ours=1"}, []string{"a=2", "b=3"}},
		"without a value":  {[]string{"ours; a=2"}, []string{"a=2"}},
		"blanks":           {[]string{"\tours = 1 ; a=2"}, []string{"a=2"}},
		"others unchanged": {[]string{`a="x";b=;  c ; =d`}, []string{`a="x";b=;  c ; =d`}},
		"name in a value":  {[]string{"a=ours; b=ours=1"}, []string{"a=ours; b=ours=1"}},
		"name in a name":   {[]string{"ours2=1; notours=2"}, []string{"ours2=1; notours=2"}},
		"other letter":     {[]string{"Ours=1"}, []string{"Ours=1"}},
		"none":             {nil, nil},
		"an empty line":    {[]string{""}, nil},
		"an equals inside": {[]string{"ours=a=b; a=2"}, []string{"a=2"}},
	} {
		h := http.Header{"Accept": {"*/*"}}
		if tt.lines != nil {
			h["Cookie"] = tt.lines
		}
		removeCookie(h, "ours")
		if got := h["Cookie"]; !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
		if _, there := h["Cookie"]; there && tt.want == nil {
			t.Errorf("%s: the Cookie header is empty rather than deleted", name)
		}
	}
}

func TestRemoveSessionCookies(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"": "", "molly_session=a": "molly_session=a", "mollygate_session=a": "", "__Host-mollygate_session=a": "",
		"a=b; mollygate_session=c; __Host-mollygate_session=d; molly_session=e": "a=b; molly_session=e",
		"x_mollygate_session=a": "x_mollygate_session=a", "Mollygate_session=a": "Mollygate_session=a",
	} {
		h := make(http.Header)
		if sent != "" {
			h["Cookie"] = []string{sent}
		}
		if RemoveSessionCookies(h); h.Get("Cookie") != want {
			t.Errorf("%q became %q, want %q", sent, h.Get("Cookie"), want)
		}
	}
}
