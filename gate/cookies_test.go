package gate

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
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

func TestDropTokens(t *testing.T) {
	t.Parallel()
	token := tokenText("mmk", "4fQ9Zt2LkVb7")
	h := http.Header{
		"X-Api-Key": {token}, "Referer": {"https://a.example/?t=" + strings.ReplaceAll(token, "_", "%5F")},
		"Cookie": {"a=1; t=" + token + "; b=2", "t=" + token}, "Accept": {"x", "y"}, "User-Agent": {token[:54]},
	}
	names := DropTokens(h, testPrefixes)
	if want := []string{"Cookie", "Referer", "X-Api-Key"}; !slices.Equal(names, want) {
		t.Errorf("got dropped headers %q, want %q", names, want)
	}
	if want := (http.Header{"Cookie": {"a=1; b=2"}, "Accept": {"x", "y"},
		"User-Agent": {token[:54]}}); !reflect.DeepEqual(h, want) {
		t.Errorf("got %d remaining headers, want 3 with the right values", len(h))
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
