package e2e

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestErrorsPage compares the refusal shown in docs/errors.md with a real one.
func TestErrorsPage(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "deploy")
	_, _, body := curl(t, append(bearer(token), "-d", "{}", s.url("/api/unikernel/destroy"))...)
	var shown, got map[string]any
	for text, into := range map[string]*map[string]any{fenced(t, "docs/errors.md", "json")[0].text: &shown,
		body: &got} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	shown["token_id"] = tokenID(token)
	if !reflect.DeepEqual(got, shown) {
		t.Errorf("got refusal\n%v\nbut the page shows\n%v", got, shown)
	}
}
