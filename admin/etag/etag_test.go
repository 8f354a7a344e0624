package etag

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lines []string
		want  bool
	}{
		{[]string{`"1"`}, true},
		{[]string{` "1"	`}, true},
		{[]string{`"7","1"`}, true},
		{[]string{`,, "7" , ,"1",`}, true},
		{[]string{`"a,b", "1"`}, true},
		{[]string{`"ü", "1"`}, true},
		{[]string{`"7"`, `"1"`}, true},
		// Forms that intermediaries produce.
		{[]string{`W/"1"`}, true},
		{[]string{`"1-gzip"`}, true},
		{[]string{`"1-zstd"`}, true},
		{[]string{`"1-br"`}, true},
		{[]string{`"1-deflate"`}, true},
		{[]string{`"1-x-gzip"`}, true},
		{[]string{`"1-GZIP"`}, true},
		{[]string{`W/"1-gzip"`}, true},
		{[]string{`"1;gzip"`}, true},
		{[]string{`"1--gzip"`}, true},
		{[]string{`"1--gzip;br"`}, true},
		{[]string{`"1-gzip-gzip"`}, true},
		{[]string{`"7-gzip", W/"1-br"`}, true},

		{nil, false},
		{[]string{``}, false},
		{[]string{`,`}, false},
		{[]string{`*`}, false},
		{[]string{`""`}, false},
		{[]string{`"-gzip"`}, false},
		{[]string{`"gzip"`}, false},
		{[]string{`"0"`}, false},
		{[]string{`"01"`}, false},
		{[]string{`"01-gzip"`}, false},
		{[]string{`"+1"`}, false},
		{[]string{`"1 "`}, false},
		{[]string{`"2"`}, false},
		{[]string{`"2-gzip"`}, false},
		{[]string{`W/"2"`}, false},
		{[]string{`"1gzip"`}, false},
		{[]string{`"1-"`}, false},
		{[]string{`"1-foo"`}, false},
		{[]string{`"1-gzip-foo"`}, false},
		{[]string{`"1---gzip"`}, false},
		{[]string{`"-1-gzip"`}, false},
		{[]string{`"11-gzip"`}, false},
		{[]string{`"gzip-1"`}, false},
		{[]string{`w/"1"`}, false},
		{[]string{`W/W/"1"`}, false},
		{[]string{`W/1`}, false},
		{[]string{`1`}, false},
		{[]string{`'1'`}, false},
		{[]string{`garbage, "1"`}, false},
		{[]string{`"1", garbage`}, false},
		{[]string{`"1" "1"`}, false},
		{[]string{`"1""1"`}, false},
		{[]string{`"x,"1"`}, false},
		{[]string{`"1", "`}, false},
		{[]string{`"1", "a b"`}, false},
		{[]string{`*, "1"`}, false},
	} {
		if got := Match(test.lines, `"1"`); got != test.want {
			t.Errorf("%q: got %v", test.lines, got)
		}
	}
	// A tag may itself end in what looks like a coding suffix.
	if !Match([]string{`"x-br"`}, `"x-br"`) || !Match([]string{`"x-br-gzip"`}, `"x-br"`) ||
		Match([]string{`"x"`}, `"x-br"`) {
		t.Error("a tag ending in -br didn't match itself")
	}
	// Matching takes time linear in the length of the list.
	long := `"1` + strings.Repeat("-gzip", 200_000) + `", ` + strings.Repeat(`"7-gzip", `, 10_000)
	if Match([]string{long}, `"1"`) || !Match([]string{long + `"1-gzip"`}, `"1"`) {
		t.Error("the tag wasn't found in a long list")
	}
}

// FuzzMatch compares Match with regular expressions for the RFC's grammar and for a tag's
// possible forms.
func FuzzMatch(f *testing.F) {
	for _, seed := range []string{``, `*`, `"1"`, `W/"1"`, `"a,b" , "1"`, `,,"1",`, `"x,"1"`, `"1" "2"`, `"1`, `*, "1"`,
		`"1-gzip"`, `W/"1;br--zstd"`} {
		f.Add(seed)
	}
	const tag = `(?:W/)?"[^"\x00-\x20\x7f]*"`
	list := regexp.MustCompile(`^(?:[, \t]*` + tag + `[ \t]*(?:,|$))*[, \t]*$`)
	one := regexp.MustCompile(tag)
	form := regexp.MustCompile(
		`^(W/)?"1([-;:_.+]{1,2}(?i:(x-)?gzip|(x-)?gz|(x-)?compress|deflate|br|zstd|dcb|dcz|identity))*"$`)
	f.Fuzz(func(t *testing.T, header string) {
		want := list.MatchString(header) && slices.ContainsFunc(one.FindAllString(header, -1), form.MatchString)
		if got := Match([]string{header}, `"1"`); got != want && len(header) < maxAdded {
			t.Errorf("%q: got %v, want %v", header, got, want)
		}
	})
}
