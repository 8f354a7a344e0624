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

// TestNarrowerComparesPreviousSecrets checks that a state in which the previous secret works
// longer is never the more restrictive one.
func TestNarrowerComparesPreviousSecrets(t *testing.T) {
	t.Parallel()
	rotated := fullToken()
	longer, ended, again := *rotated, *rotated, *rotated
	longer.PreviousValidUntil = rotated.PreviousValidUntil.Add(time.Second)
	ended.PreviousDigest, ended.PreviousValidUntil = Digest{}, time.Time{}
	again.Digest, again.PreviousDigest = DigestOf("newest"), rotated.Digest
	for name, c := range map[string]struct{ before, after, want *Token }{
		"overlap extended": {rotated, &longer, rotated},
		"overlap cut":      {&longer, rotated, rotated},
		"overlap ended":    {rotated, &ended, &ended},
		"overlap restored": {&ended, rotated, &ended},
		"rotated again":    {rotated, &again, &again},
	} {
		if got := Narrower(c.before, c.after, testTime); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
