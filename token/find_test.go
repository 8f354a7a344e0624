package token

import (
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	naiveForm = regexp.MustCompile(`^([a-z]{2})[ka]_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}$`)
	naiveUUID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
)

// naiveToken is a straightforward implementation that reports whether s is a token.
func naiveToken(prefixes Prefixes, s string) bool {
	form := naiveForm.FindStringSubmatch(s)
	if form == nil || strings.HasSuffix(s, "\n") {
		return false
	}
	known := false
	for _, prefix := range prefixes {
		known = known || prefix == form[1]
	}
	sum, digits := uint64(crc32.ChecksumIEEE([]byte(s[:49]))), ""
	for range 6 {
		digits = string("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[sum%62]) + digits
		sum /= 62
	}
	return known && s[49:] == digits
}

func naiveUUIDv4(s string) bool { return naiveUUID.MatchString(s) && !strings.HasSuffix(s, "\n") }

func naiveFind(prefixes Prefixes, text string) int {
	for i := 0; i+SecretTextLength <= len(text); i++ {
		if naiveToken(prefixes, text[i:i+SecretTextLength]) {
			return i
		}
	}
	return -1
}

// tokenEnding returns a token whose checksum ends with the given three characters, with which
// another token can begin.
func tokenEnding(t testing.TB, end string) string {
	t.Helper()
	for i := range 62 * 62 * 62 * 100 {
		text := []byte(vector[:checkStart])
		for j, n := checkStart-1, i; n > 0; j, n = j-1, n/62 {
			text[j] = base62[n%62]
		}
		if check := checkDigits(string(text)); string(check[3:]) == end {
			return string(text) + string(check[:])
		}
	}
	t.Fatal("found no token whose checksum has this ending")
	return ""
}

func TestFindAndRedact(t *testing.T) {
	t.Parallel()
	redactedVector := vector[:secretStart] + Redacted
	overlap := tokenEnding(t, "mmk")
	for name, c := range map[string]struct {
		text string
		at   int
		safe string
	}{
		"nothing":            {"", -1, ""},
		"no token":           {"hello_world", -1, "hello_world"},
		"alone":              {vector, 0, redactedVector},
		"after text":         {"token=" + vector, 6, "token=" + redactedVector},
		"before text":        {vector + "&x=1", 0, redactedVector + "&x=1"},
		"in a word":          {"mmk_x" + vector + "y", 5, "mmk_x" + redactedVector + "y"},
		"underscores before": {"____" + vector, 4, "____" + redactedVector},
		"two":                {vector + vector, 0, redactedVector + redactedVector},
		"two apart": {"a " + vector + " b " + vector + " c", 2,
			"a " + redactedVector + " b " + redactedVector + " c"},
		"wrong check":        {vector[:54] + "E", -1, vector[:54] + "E"},
		"after half a token": {vector[:30] + vector, 30, vector[:30] + redactedVector},
		"second begins within first": {overlap[:52] + vector, 0, vector[:secretStart] + Redacted + "_4fQ9Zt2LkVb7_" +
			Redacted},
		"imported":             {importedText, -1, importedText},
		"other prefix":         {"mn" + vector[2:], -1, "mn" + vector[2:]},
		"cut short":            {vector[:54], -1, vector[:54]},
		"at the last position": {"\x00\xff" + vector, 2, "\x00\xff" + redactedVector},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prefixes := Prefixes{"mm"}
			if at := prefixes.Find(c.text); at != c.at || at != naiveFind(prefixes, c.text) {
				t.Errorf("Find returned %d, want %d", at, c.at)
			}
			if safe := prefixes.Redact(c.text); safe != c.safe {
				t.Errorf("Redact returned %q, want %q", safe, c.safe)
			}
		})
	}
}

// TestFindTakesLinearTime compares how long worst-case texts of different lengths take.
func TestFindTakesLinearTime(t *testing.T) {
	near := vector[:54] + "E" // only the checksum is wrong
	for name, piece := range map[string]string{
		"underscores": "_", "almost tokens": near, "beginnings": "mmk_", "almost beginnings": "mmk_4fQ9Zt2LkVb7_",
		"tokens": vector,
	} {
		prefixes := Prefixes{"zz", "mm"}
		cost := func(length int) time.Duration {
			text := strings.Repeat(piece, length/len(piece))
			best := time.Hour
			for range 5 {
				start := time.Now()
				_ = prefixes.Redact(text)
				best = min(best, time.Since(start))
			}
			return best
		}
		// A quadratic search would take 256 times as long rather than 16 times.
		small, large := cost(1<<16), cost(1<<20)
		if large > 80*max(small, 100*time.Microsecond) {
			t.Errorf("%s: 64 KiB took %v and 1 MiB took %v, which isn't linear", name, small, large)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, seed := range []string{
		"", vector, vector[:54], "x" + vector, vector + vector, vector[:30] + vector, vector[:52] + vector,
		strings.Repeat("_", 200), strings.Repeat("mmk_", 40), "?token=" + vector + "&a=b", "zzk" + vector[3:],
		tokenEnding(f, "mmk")[:52] + vector,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		prefixes := Prefixes{"mm", "zz"}
		if got, want := prefixes.Find(text), naiveFind(prefixes, text); got != want {
			t.Fatalf("Find returned %d, want %d", got, want)
		}
		// Find must find a token inserted into the text, and Redact must remove all tokens.
		for _, text := range []string{text, text + vector, text[:len(text)/2] + vector + text[len(text)/2:]} {
			want := naiveFind(prefixes, text)
			if got := prefixes.Find(text); got != want {
				t.Fatalf("Find returned %d, want %d", got, want)
			}
			safe := prefixes.Redact(text)
			if at := naiveFind(prefixes, safe); at >= 0 {
				t.Fatalf("the redacted text contains a token at %d", at)
			}
			if (safe == text) != (want < 0) {
				t.Fatal("Redact changed a text without a token, or didn't change one with a token")
			}
			if again := prefixes.Redact(safe); again != safe {
				t.Fatal("Redact isn't idempotent")
			}
		}
	})
}

func ExamplePrefixes_Redact() {
	fmt.Println(Prefixes{"mm"}.Redact("GET /?token=" + vector))
	// Output: GET /?token=mmk_4fQ9Zt2LkVb7_…REDACTED
}
