package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
)

// checkNoSecret fails the test if a string contains a secret, its hash or its secret part. It
// never prints the secret.
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
	if len(secret) == 36 { // an upstream token, which a backend may echo
		forms["a secret in base64"] = base64.StdEncoding.EncodeToString([]byte(secret))[:47]
		forms["a credential in base64"] = base64.StdEncoding.EncodeToString([]byte("Bearer " + secret))[12:56]
		forms["a secret in hexadecimal"] = hex.EncodeToString([]byte(secret))
		forms["a secret in UTF-16"] = strings.Join(strings.Split(secret, ""), "\x00")
		forms["a secret in upper case"] = strings.ToUpper(secret)
		forms["a secret as a header name"] = http.CanonicalHeaderKey(secret)
	}
	for what, form := range forms {
		if strings.Contains(text, form) {
			t.Errorf("%s contains %s", where, what)
		}
	}
}
