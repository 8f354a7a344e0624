package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// checkNoSecret fails if a secret, its hash or what is left of it when its public
// part is taken off stands in a text. It never prints the secret.
func checkNoSecret(t *testing.T, where, text, secret string) {
	t.Helper()
	sum := sha256.Sum256([]byte(secret))
	forms := map[string]string{
		"a secret":                     secret,
		"a secret's SHA-256 in hex":    hex.EncodeToString(sum[:]),
		"a secret's SHA-256 in base64": base64.StdEncoding.EncodeToString(sum[:]),
	}
	if len(secret) == 55 {
		forms["the secret part of a token"] = secret[17:49]
	}
	for what, form := range forms {
		if strings.Contains(text, form) {
			t.Errorf("%s holds %s", where, what)
		}
	}
}
