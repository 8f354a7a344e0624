package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestVector(t *testing.T) {
	t.Parallel()
	if len(vector) != SecretTextLength {
		t.Fatalf("got SecretTextLength %d, want the length of a token", SecretTextLength)
	}
	if check := checkDigits(vector[:checkStart]); string(check[:]) != vector[checkStart:] {
		t.Errorf("got check digits %s, want %s", check, vector[checkStart:])
	}
	c, err := Prefixes{"mm"}.Parse(vector)
	if err != nil {
		t.Fatal(err)
	}
	if c.Format != FormatNative || c.Kind != KindAPI || c.ID.String() != "4fQ9Zt2LkVb7" {
		t.Errorf("the token was parsed as %v, %v, %v", c.Format, c.Kind, c.ID)
	}
	if want := sha256.Sum256([]byte(vector)); c.Digest != want {
		t.Error("the digest isn't the whole token's SHA-256")
	}
}

// TestRandomBase62 supplies every byte value once. Each character must result from the
// same number of byte values.
func TestRandomBase62(t *testing.T) {
	t.Parallel()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	const length = 4 * len(base62)
	// randomBase62 reads more than it needs; it must discard these extra bytes.
	random := io.MultiReader(bytes.NewReader(all), bytes.NewReader(bytes.Repeat([]byte{255}, 1000)))
	out, err := randomBase62(random, length)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[byte]int)
	for _, c := range out {
		counts[c]++
	}
	for i := range len(base62) {
		if counts[base62[i]] != 4 {
			t.Errorf("%q results from %d of 256 bytes, want 4", base62[i], counts[base62[i]])
		}
	}
}

func TestRandomBase62WithoutRandom(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 5, idLength, idLength + 2} {
		if _, err := NewID(bytes.NewReader(make([]byte, n))); !errors.Is(err, io.EOF) &&
			!errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("NewID with %d random bytes: got error %v", n, err)
		}
	}
	if _, err := newSecret(strings.NewReader(""), "mm", KindAPI, ID{}); err == nil {
		t.Error("newSecret returned no error without random bytes")
	}
}

// TestGenerator generates many tokens. All of them must be different, and all characters must
// be equally frequent at every position.
func TestGenerator(t *testing.T) {
	t.Parallel()
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	seen := make(map[[16]byte]struct{}, n)
	ids := make(map[ID]struct{}, n)
	var counts [checkStart][256]int
	for range n {
		id, err := NewID(nil)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := newSecret(nil, DefaultPrefix, KindAPI, id)
		if err != nil {
			t.Fatal(err)
		}
		text := secret.Reveal()
		for i := idStart; i < checkStart; i++ {
			counts[i][text[i]]++
		}
		// Half of the secret is enough to distinguish tokens and saves memory.
		seen[[16]byte([]byte(text[secretStart:][:16]))] = struct{}{}
		ids[id] = struct{}{}
	}
	if len(seen) != n || len(ids) != n {
		t.Errorf("%d tokens have %d different secrets and %d different IDs", n, len(seen), len(ids))
	}
	expected := float64(n) / float64(len(base62))
	positions := 0
	var total float64
	for i := idStart; i < checkStart; i++ {
		if i == secretStart-1 {
			continue
		}
		positions++
		for c := range len(base62) {
			d := float64(counts[i][base62[c]]) - expected
			total += d * d / expected
		}
	}
	// The chi-square distribution with positions*61 degrees of freedom is nearly normal:
	// exceeding six sigma has a probability of about one in a billion.
	freedom := float64(positions * (len(base62) - 1))
	if sigma := (total - freedom) / math.Sqrt(2*freedom); math.Abs(sigma) > 6 {
		t.Errorf("chi-square %.0f with %.0f degrees of freedom deviates by %.1f sigma", total, freedom, sigma)
	}
}

// TestSecretIsNeverPrinted formats a secret in every way that a log or a response might.
func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	text := vector
	secret := Secret{text: &text}
	digest := DigestOf(vector)
	holder := struct {
		Secret Secret
		hidden Secret
		Digest Digest
		Token  *Token
	}{secret, secret, digest, &Token{Digest: digest, PreviousDigest: digest}}

	var log bytes.Buffer
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(&log),
		zap.DebugLevel))
	logger.Info("", zap.Any("secret", secret), zap.Any("digest", digest), zap.Any("holder", holder),
		zap.Reflect("holder", &holder),
		zap.Stringer("secret", secret), zap.Any("list", []Secret{secret}))
	text1, json1 := slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil))
	text1.Info("", "secret", secret, "digest", digest, "holder", holder)
	json1.Info("", "secret", secret, "digest", digest, "holder", holder)

	printed := []string{log.String(), fmt.Sprint(secret, digest, holder), fmt.Sprintln(secret, digest),
		fmt.Errorf("%w: %v", ErrMalformed, secret).Error()}
	// For %p and %w, fmt calls no method and prints arrays. A Digest is an array, but a Secret
	// isn't.
	for _, verb := range []string{"p", "w"} {
		printed = append(printed, fmt.Sprintf("%"+verb, secret), fmt.Sprintf("%"+verb, &secret))
	}
	for _, verb := range strings.Split("v +v #v s q x X #x # x d b o O c U e E f F g G t T 100s .3s", " ") {
		for _, value := range []any{secret, &secret, digest, &digest, []any{secret, digest},
			map[any]any{digest: secret}} {
			printed = append(printed, fmt.Sprintf("%"+verb, value))
		}
	}
	for _, verb := range []string{"v", "+v", "#v"} {
		printed = append(printed, fmt.Sprintf("%"+verb, holder), fmt.Sprintf("%"+verb, &holder))
	}
	for _, value := range []any{secret, &secret, digest, holder, &holder, map[Digest]Secret{digest: secret}} {
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		printed = append(printed, string(encoded))
	}
	encoded, err := xml.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	printed = append(printed, string(encoded))

	whole := fmt.Sprintf("%x", [len(digest)]byte(digest))
	numbers := strings.Trim(fmt.Sprint([len(digest)]byte(digest)), "[]")
	forbidden := map[string]string{
		"the secret":             vector[secretStart:checkStart],
		"part of the secret":     vector[secretStart+1 : secretStart+9],
		"the secret in hex":      fmt.Sprintf("%x", vector[secretStart:checkStart]),
		"the digest in hex":      whole,
		"the digest in numbers":  numbers,
		"the digest with commas": strings.ReplaceAll(numbers, " ", ","),
		"the digest as Go": strings.Trim(strings.TrimPrefix(fmt.Sprintf("%#v", [len(digest)]byte(digest)),
			"[32]uint8"), "{}"),
	}
	for _, out := range printed {
		for what, text := range forbidden {
			if strings.Contains(strings.ToLower(out), strings.ToLower(text)) {
				t.Errorf("the output contains %s", what)
			}
		}
	}
	if secret.Reveal() != vector || !strings.HasPrefix(secret.String(), vector[:secretStart]) {
		t.Error("Reveal or String returned the wrong text")
	}
	if got := (Secret{}).String() + (Secret{}).Reveal(); got != "[secret]" {
		t.Errorf("the zero secret was printed as %q", got)
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	id, err := ParseID("4fQ9Zt2LkVb7")
	if err != nil || id.String() != "4fQ9Zt2LkVb7" {
		t.Errorf("got %v, error %v", id, err)
	}
	for _, bad := range []string{"", "4fQ9Zt2LkVb", "4fQ9Zt2LkVb77", "4fQ9Zt2LkVb_", "4fQ9Zt2LkVbé", "4fQ9 t2LkVb7",
		vector} {
		if _, err := ParseID(bad); err == nil || strings.Contains(err.Error(), vector) {
			t.Errorf("ParseID(%q): got error %v, want one without the input", bad, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		KindAPI.String(): "api", KindAdmin.String(): "admin", Kind(0).String(): "unknown",
		FormatNative.String(): "native", FormatImported.String(): "imported",
		StatusRevoked.String(): "revoked", StatusDisabled.String(): "disabled",
		StatusNotYetValid.String(): "not_yet_valid",
		StatusExpired.String():     "expired", StatusActive.String(): "active",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
