package token

import (
	"reflect"
	"testing"
	"time"
)

// TestNarrowerComparesAllTerms checks that every field of the terms affects the comparison, so
// that a new restriction can't be forgotten.
func TestNarrowerComparesAllTerms(t *testing.T) {
	t.Parallel()
	full := fullToken()
	terms := reflect.TypeFor[Terms]()
	for i := range terms.NumField() {
		other := *full
		reflect.ValueOf(&other.Terms).Elem().Field(i).SetZero()
		if full.allowsNoMore(&other) && other.allowsNoMore(full) {
			t.Errorf("%s isn't compared", terms.Field(i).Name)
		}
	}
	for name, set := range map[string]func(*Token){
		"RevokedAt":  func(tok *Token) { tok.RevokedAt = time.Time{} },
		"DisabledAt": func(tok *Token) { tok.DisabledAt = time.Time{} },
		"ExpiresAt":  func(tok *Token) { tok.ExpiresAt = time.Time{} },
		"NotBefore":  func(tok *Token) { tok.NotBefore = time.Time{} },
	} {
		other := *full
		set(&other)
		if !full.allowsNoMore(&other) || other.allowsNoMore(full) {
			t.Errorf("a token without %s isn't wider", name)
		}
	}
}
