package token

import (
	"reflect"
	"testing"
	"time"
)

// TestNarrowerKnowsAllTerms: tokens whose terms differ in any field are not taken for
// equally narrow, so that no new restriction is forgotten.
func TestNarrowerKnowsAllTerms(t *testing.T) {
	t.Parallel()
	full := fullToken()
	terms := reflect.TypeFor[Terms]()
	for i := range terms.NumField() {
		other := *full
		reflect.ValueOf(&other.Terms).Elem().Field(i).SetZero()
		if full.allowsNoMore(&other) && other.allowsNoMore(full) {
			t.Errorf("%s makes no difference", terms.Field(i).Name)
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
			t.Errorf("without %s a token allows no more", name)
		}
	}
}
