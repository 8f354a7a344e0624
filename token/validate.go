package token

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on a token's fields.
const (
	maxNameLength     = 100 // characters
	maxScopes         = 256
	maxAllowedIPs     = 256
	maxResources      = 256
	maxResourceName   = 255  // characters
	maxMetadata       = 64   // entries
	maxMetadataKey    = 64   // characters
	maxMetadataLength = 1024 // characters
)

func checkName(name string) (string, error) {
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "", fieldErrorf("name", "is required: say what the token is for, in 1 to %d characters", maxNameLength)
	case n > maxNameLength:
		return "", fieldErrorf("name", "has %d characters; at most %d are allowed", n, maxNameLength)
	case !utf8.ValidString(name):
		return "", fieldErrorf("name", "is not valid UTF-8")
	case strings.TrimSpace(name) != name:
		return "", fieldErrorf("name", "begins or ends with white space")
	}
	if r, found := findRune(name, isControl); found {
		return "", fieldErrorf("name", "contains the control character %U", r)
	}
	return name, nil
}

// isControl reports whether a name must not contain a character: control characters, line and
// paragraph separators, and bidirectional or invisible characters, which make a name look like
// another ("Trojan Source", CVE-2021-42574). The joiners U+200C and U+200D are allowed because
// some scripts and emoji need them.
func isControl(r rune) bool {
	if r < 0x80 {
		return r < ' ' || r == 0x7f
	}
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) ||
		r == '\u00ad' || r == '\u200b' || r == '\u2060' || r == '\ufeff' || // soft hyphen, zero-width spaces
		(r >= '\U000e0000' && r <= '\U000e007f') // tags
}

func findRune(s string, is func(rune) bool) (rune, bool) {
	i := strings.IndexFunc(s, is)
	if i < 0 {
		return 0, false
	}
	r, _ := utf8.DecodeRuneInString(s[i:])
	return r, true
}

func parseAllowedIPs(texts []string) ([]netip.Prefix, error) {
	if len(texts) > maxAllowedIPs {
		return nil, fieldErrorf("allowed_ips", "%d given; at most %d are allowed", len(texts), maxAllowedIPs)
	}
	var prefixes []netip.Prefix
	for _, text := range texts {
		prefix, err := parseAllowedIP(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(prefixes, prefix) {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

func parseAllowedIP(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{},
			fieldErrorf("allowed_ips", "%s is not an address range, such as 203.0.113.0/24 or 2001:db8::/32",
				quote(text))
	}
	if addr := prefix.Addr(); addr.Is4In6() {
		// The gate compares unmapped addresses, so an IPv4-mapped range stands for the IPv4
		// range.
		if prefix.Bits() < 96 {
			return netip.Prefix{}, fieldErrorf("allowed_ips", "%s mixes IPv4 and IPv6: list the ranges separately",
				quote(text))
		}
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, fieldErrorf("allowed_ips", "%s has bits set beyond its prefix length: did you mean %s?",
			quote(text), masked)
	}
	return prefix, nil
}

// checkMetadata returns a copy of valid metadata.
func checkMetadata(metadata map[string]string) (map[string]string, error) {
	if len(metadata) == 0 {
		return nil, nil
	}
	if len(metadata) > maxMetadata {
		return nil, fieldErrorf("metadata", "has %d entries; at most %d are allowed", len(metadata), maxMetadata)
	}
	folded := make(map[string]string, len(metadata))
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if err := checkMetadataEntry(key, metadata[key]); err != nil {
			return nil, err
		}
		lower := strings.ToLower(key)
		if other, twice := folded[lower]; twice {
			return nil, fieldErrorf("metadata", "%s and %s differ only in letter case", quote(other), quote(key))
		}
		folded[lower] = key
	}
	return maps.Clone(metadata), nil
}

func checkMetadataEntry(key, value string) error {
	switch n := utf8.RuneCountInString(key); {
	case n == 0:
		return fieldErrorf("metadata", "a key is empty; keys have 1 to %d characters", maxMetadataKey)
	case n > maxMetadataKey:
		return fieldErrorf("metadata", "a key has %d characters; at most %d are allowed", n, maxMetadataKey)
	case !utf8.ValidString(key), !utf8.ValidString(value):
		return fieldErrorf("metadata", "the entry %s is not valid UTF-8", quote(key))
	}
	if r, found := findRune(key, isControl); found {
		return fieldErrorf("metadata", "the key %s contains the control character %U", quote(key), r)
	}
	if n := utf8.RuneCountInString(value); n > maxMetadataLength {
		return fieldErrorf("metadata", "the value of %s has %d characters; at most %d are allowed", quote(key), n,
			maxMetadataLength)
	}
	isControlExceptLine := func(r rune) bool { return isControl(r) && r != '\n' && r != '\t' }
	if r, found := findRune(value, isControlExceptLine); found {
		return fieldErrorf("metadata", "the value of %s contains the control character %U", quote(key), r)
	}
	return nil
}

// Printable removes invalid UTF-8 and characters that could manipulate a terminal or a page
// that shows the text.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
