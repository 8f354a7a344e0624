package token

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	withCheck := func(s string) string {
		check := checkDigits(s)
		return s + string(check[:])
	}
	body := vector[:checkStart]
	for name, c := range map[string]struct {
		text   string
		kind   Kind
		format Format
	}{
		"vector":                  {vector, KindAPI, FormatNative},
		"admin":                   {withCheck("mma" + body[3:]), KindAdmin, FormatNative},
		"second prefix":           {withCheck("zzk" + body[3:]), KindAPI, FormatNative},
		"imported":                {importedText, 0, FormatImported},
		"imported, lowest":        {"00000000-0000-4000-8000-000000000000", 0, FormatImported},
		"imported, highest":       {"ffffffff-ffff-4fff-bfff-ffffffffffff", 0, FormatImported},
		"empty":                   {},
		"other prefix":            {text: withCheck("mnk" + body[3:])},
		"prefix in capitals":      {text: withCheck("MMk" + body[3:])},
		"other kind":              {text: withCheck("mmt" + body[3:])},
		"kind in capitals":        {text: withCheck("mmK" + body[3:])},
		"no underscore":           {text: withCheck("mmk-" + body[4:])},
		"no second underscore":    {text: withCheck(body[:secretStart-1] + "x" + body[secretStart:])},
		"short":                   {text: vector[:SecretTextLength-1]},
		"long":                    {text: vector + "0"},
		"space before":            {text: " " + vector},
		"space after":             {text: vector + " "},
		"space as last character": {text: vector[:SecretTextLength-1] + " "},
		"wrong check":             {text: vector[:SecretTextLength-1] + "E"},
		"wrong id":                {text: "mmk_4fQ9Zt2LkVb8" + vector[16:]},
		"wrong secret":            {text: vector[:20] + "x" + vector[21:]},
		"letter case":             {text: strings.ToLower(vector)},
		"underscore in id":        {text: withCheck(body[:6] + "_" + body[7:])},
		"underscore in secret":    {text: withCheck(body[:30] + "_" + body[31:])},
		"hyphen in secret":        {text: withCheck(body[:30] + "-" + body[31:])},
		"not ASCII":               {text: withCheck(body[:30] + "é" + body[32:])},
		"NUL":                     {text: withCheck(body[:30] + "\x00" + body[31:])},
		"look-alike letter":       {text: "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDа0LfSi1S3o7"},
		"imported in capitals":    {text: strings.ToUpper(importedText)},
		"imported, one capital":   {text: "f81d4faE-7dec-41d0-a765-00a0c91e6bf6"},
		"imported, version 1":     {text: "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
		"imported, version 7":     {text: "f81d4fae-7dec-71d0-a765-00a0c91e6bf6"},
		"imported, other variant": {text: "f81d4fae-7dec-41d0-c765-00a0c91e6bf6"},
		"imported, no dashes":     {text: strings.ReplaceAll(importedText, "-", "")},
		"imported, dash moved":    {text: "f81d4fae7-dec-41d0-a765-00a0c91e6bf6"},
		"imported, more dashes":   {text: "f81d4fae-7de--41d0-a765-00a0c91e6bf6"},
		"imported, in braces":     {text: "{" + importedText + "}"},
		"imported, as URN":        {text: "urn:uuid:" + importedText},
		"imported, no hex digit":  {text: "g81d4fae-7dec-41d0-a765-00a0c91e6bf6"},
		"imported, line after":    {text: importedText + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Prefixes{"mm", "zz"}.Parse(c.text)
			if c.format == 0 {
				if !errors.Is(err, ErrMalformed) || got != (Credential{}) {
					t.Errorf("got %v, error %v; want ErrMalformed", got.Format, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := Credential{Format: c.format, Kind: c.kind, Digest: sha256.Sum256([]byte(c.text))}
			if c.format == FormatNative {
				want.ID = ID([]byte(c.text[4:16]))
			}
			if got != want {
				t.Errorf("got %v, %v, %v; want %v, %v, %v", got.Format, got.Kind, got.ID, want.Format, want.Kind,
					want.ID)
			}
		})
	}
}

// TestParseAllocates checks that Parse doesn't allocate, so a flood of tokens creates no
// garbage.
func TestParseAllocates(t *testing.T) {
	prefixes := Prefixes{"zz", "mm"}
	for name, text := range map[string]string{
		"native": vector, "wrong check": vector[:SecretTextLength-1] + "E", "imported": importedText,
		"not imported": strings.ToUpper(importedText), "long": strings.Repeat(vector, 1000), "empty": "",
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = prefixes.Parse(text) }); n != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, n)
		}
	}
}

func TestPrefixesValidate(t *testing.T) {
	t.Parallel()
	for _, good := range []Prefixes{{"mm"}, {"mm", "ab", "zz"}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%q: got error %v, want none", good, err)
		}
	}
	for _, bad := range []Prefixes{nil, {}, {""}, {"m"}, {"mmm"}, {"MM"}, {"m1"}, {"m_"}, {"_m"}, {"é"}, {"mm", "mm"},
		{"mm", ""}} {
		if bad.Validate() == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// naiveOutline reports whether a text has the outline of a token with the prefix mm or zz.
func naiveOutline(text string) bool {
	return len(text) == 55 && slices.Contains([]string{"mmk_", "mma_", "zzk_", "zza_"}, text[:4]) && text[16] == '_'
}

func FuzzParse(f *testing.F) {
	f.Add(vector)
	f.Add(importedText)
	f.Add("mma" + vector[3:])
	f.Add(vector + vector)
	f.Add("mmk_" + strings.Repeat("0", 51))
	f.Add(strings.Repeat("_", SecretTextLength))
	f.Add("ffffffff-ffff-4fff-bfff-ffffffffffff")
	f.Fuzz(func(t *testing.T, text string) {
		prefixes := Prefixes{"mm", "zz"}
		c, err := prefixes.Parse(text)
		if err != nil {
			if err != ErrMalformed || c != (Credential{}) {
				t.Fatalf("got %v and error %v, want only ErrMalformed", c.Format, err)
			}
		} else if c.Digest != sha256.Sum256([]byte(text)) {
			t.Fatal("the digest isn't the text's SHA-256")
		}
		unchecked, uncheckedErr := prefixes.ParseUnchecked(text)
		if err == nil && unchecked != c || (uncheckedErr == nil) != (naiveOutline(text) || naiveUUIDv4(text)) {
			t.Fatalf("ParseUnchecked returned %v and error %v", unchecked.Format, uncheckedErr)
		}
		if native := c.Format == FormatNative; native != (naiveToken(prefixes, text)) {
			t.Fatalf("got native %v, want the opposite", native)
		}
		if imported := c.Format == FormatImported; imported != naiveUUIDv4(text) {
			t.Fatalf("got imported %v, want the opposite", imported)
		}
		// A text in the right format with a corrected checksum is a token.
		if len(text) == SecretTextLength {
			check := checkDigits(text[:checkStart])
			fixed := text[:checkStart] + string(check[:])
			if _, err := prefixes.Parse(fixed); (err == nil) != naiveToken(prefixes, fixed) {
				t.Fatalf("with a valid checksum: got error %v", err)
			}
		}
	})
}
