package token

import (
	"reflect"
	"testing"
	"time"
)

// TestNarrowerComparesAllTerms checks that Narrower compares every field of Terms. It fails if
// a new restriction isn't compared.
func TestNarrowerComparesAllTerms(t *testing.T) {
	t.Parallel()
	full := fullToken()
	terms := reflect.TypeFor[Terms]()
	for i := range terms.NumField() {
		other := *full
		reflect.ValueOf(&other.Terms).Elem().Field(i).SetZero()
		if full.allowsNoMore(&other) && other.allowsNoMore(full) {
			t.Errorf("Narrower doesn't compare %s", terms.Field(i).Name)
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
			t.Errorf("removing %s didn't make the token less restrictive", name)
		}
	}
}
