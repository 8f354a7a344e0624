package token

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func instance(name string) Resource {
	return Resource{Type: "instance", Name: name, Container: true}
}

func unikernel(name string) Resource { return Resource{Type: "unikernel", Name: name} }

func block(name string) Resource { return Resource{Type: "block", Name: name} }

// TestAllow checks which requests a token may send that is bound to resources.
func TestAllow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		patterns string
		targets  []Resource
		// refused is the refused target, "nothing" if the request names nothing that is bound, or
		// empty if the request is allowed.
		refused string
	}{
		{"", nil, ""},
		{"", []Resource{instance("a"), unikernel("web")}, ""},
		{"unikernel/web", nil, "nothing"},
		{"unikernel/web", []Resource{instance("a"), unikernel("web")}, ""},
		{"unikernel/web", []Resource{instance("a"), unikernel("web2")}, "unikernel/web2"},
		{"unikernel/web", []Resource{instance("a"), unikernel("we")}, "unikernel/we"},
		{"unikernel/web", []Resource{instance("a"), unikernel("WEB")}, "unikernel/WEB"},
		{"unikernel/web", []Resource{instance("a")}, "nothing"},
		{"unikernel/web", []Resource{instance("a"), block("db")}, "block/db"},
		{"unikernel/web", []Resource{instance("a"), unikernel("web"), block("db")}, "block/db"},
		{"unikernel/web block/db", []Resource{instance("a"), unikernel("web"), block("db")}, ""},
		{"unikernel/web block/db", []Resource{instance("a"), unikernel("web"), block("db"), block("db2")}, "block/db2"},
		{"unikernel/web block/db", []Resource{instance("a"), block("db")}, ""},
		{"unikernel/web block/*", []Resource{instance("a"), unikernel("web"), block("db")}, ""},
		{"unikernel/web-*", []Resource{unikernel("web-")}, ""},
		{"unikernel/web-*", []Resource{unikernel("web")}, "unikernel/web"},
		{"unikernel/web unikernel/api-*", []Resource{unikernel("api-1")}, ""},
		{"unikernel/web unikernel/api", []Resource{unikernel("web"), unikernel("api")}, ""},
		{"unikernel/*", []Resource{unikernel("web"), unikernel("api")}, ""},
		{"instance/a", []Resource{instance("a"), unikernel("web"), block("db")}, ""},
		{"instance/a", []Resource{instance("b"), unikernel("web")}, "instance/b"},
		{"instance/a", []Resource{unikernel("web")}, "unikernel/web"},
		{"instance/a unikernel/web", []Resource{instance("a"), unikernel("web")}, ""},
		{"instance/a unikernel/web", []Resource{instance("b"), unikernel("web")}, "instance/b"},
		{"instance/a unikernel/web", []Resource{instance("a"), unikernel("api")}, "unikernel/api"},
		{"instance/a unikernel/web", []Resource{instance("a"), block("db")}, "block/db"},
		{"instance/a unikernel/web", []Resource{instance("a")}, ""},
	} {
		got, ok := Resources(strings.Fields(tt.patterns)).Allow(tt.targets)
		refused := got.String()
		switch {
		case ok:
			refused = ""
		case got == Resource{}:
			refused = "nothing"
		}
		if refused != tt.refused {
			t.Errorf("%q, request for %v: got %q, want %q", tt.patterns, tt.targets, refused, tt.refused)
		}
	}
}

// resourceCatalog has types as Mollymawk's.
var resourceCatalog = Catalog{ResourceTypes: []ResourceType{
	{Name: "instance", Container: true, Check: lowered},
	{Name: "unikernel", Check: lowered},
	{Name: "block", Aliases: []string{"volume"}},
}}

func lowered(name string) (string, error) {
	if strings.Contains(name, " ") {
		return "", errors.New("must not contain a space")
	}
	return strings.ToLower(name), nil
}

// TestCheckResources checks which patterns a token can have, and their spelling.
func TestCheckResources(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"unikernel/Web": "unikernel/web", "unikernel/Web-*": "unikernel/web-*", "volume/DB": "block/DB",
		"block/a/b": "block/a/b", "unikernel/*": "unikernel/*",
		"block/db,unikernel/a,volume/db": "block/db,unikernel/a",
	} {
		got, err := resourceCatalog.CheckResources(strings.Split(given, ","))
		if err != nil || !slices.Equal(got, strings.Split(want, ",")) {
			t.Errorf("%s: got %v, error %v, want %s", given, got, err, want)
		}
	}
	for given, says := range map[string]string{
		"": "a type, a slash and a name", "web": "a slash", "unikernel/": "a slash", "/web": "not a type",
		"unikernels/web": "the types are instance, unikernel, block", "Unikernel/web": "not a type",
		"unikernel/w*b": "only at the end", "unikernel/**": "only at the end", "unikernel/a b": "a space",
		"block/a\nb": "control character", "block/\xff": "UTF-8", "block/" + strings.Repeat("x", 256): "more than 255",
	} {
		got, err := resourceCatalog.CheckResources([]string{given})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, error %v, want %q", given, got, err, says)
		}
	}
	_, err := resourceCatalog.CheckResources(make([]string, 257))
	if err == nil || !strings.Contains(err.Error(), "256") {
		t.Errorf("257 patterns: got error %v", err)
	}
	if _, err := (Catalog{}).CheckResources([]string{"a/b"}); err == nil {
		t.Error("without types: got no error")
	}
}

// TestMaxResources checks which resources the tokens of a limited account may have.
func TestMaxResources(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		maximum, given string
		within         bool
	}{
		{"unikernel/web-*", "", false},
		{"unikernel/web-*", "unikernel/web-*", true},
		{"unikernel/web-*", "unikernel/web-1 unikernel/web-2*", true},
		{"unikernel/web-*", "unikernel/web*", false},
		{"unikernel/web-*", "unikernel/web-1 block/db", false},
		{"unikernel/web-*", "unikernel/web-1 instance/a", true},
		{"unikernel/web-*", "instance/a", false},
		{"unikernel/web-* block/db", "unikernel/web-1", true},
		{"unikernel/web-* block/db", "block/db", true},
		{"instance/a", "instance/a", true},
		{"instance/a", "instance/a unikernel/web", true},
		{"instance/a", "unikernel/web", false},
		{"instance/a", "instance/b", false},
		{"instance/a unikernel/web-*", "instance/a", false},
		{"instance/a unikernel/web-*", "unikernel/web-1", false},
		{"instance/a unikernel/web-*", "instance/a unikernel/web-1", true},
		{"instance/a unikernel/web-*", "instance/a unikernel/web-1 block/db", false},
	} {
		policy := Policy{Prefixes: Prefixes{"mm"}, Accounts: []string{"default"}, Catalog: resourceCatalog,
			MaxResources: map[string]Resources{"default": strings.Fields(tt.maximum)}}
		policy.Catalog.Scopes = []CatalogScope{{Scope: Scope{Name: "unikernel:list"}}}
		draft := validDraft()
		draft.Resources = strings.Fields(tt.given)
		got, err := policy.New(draft, testTime)
		if (err == nil) != tt.within {
			t.Errorf("maximum %q, given %q: got error %v", tt.maximum, tt.given, err)
		}
		if err == nil && !slices.Equal(got.Resources, draft.Resources) && len(draft.Resources) == 1 {
			t.Errorf("given %q, got %v", tt.given, got.Resources)
		}
	}
}
