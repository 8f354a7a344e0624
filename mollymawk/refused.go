package mollymawk

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// credentialRefused implements gate.Route.CredentialRefused. It reports whether a response
// means that Mollymawk refused the upstream token. Mollymawk uses 400 for every client
// error, so only the text identifies a refused token. The first two texts end with the
// token.
func credentialRefused(status int, body []byte) bool {
	if status != http.StatusBadRequest {
		return false
	}
	text := envelopeText(body)
	return strings.HasPrefix(text, "Failed to find user with token ") ||
		strings.HasPrefix(text, "Token value is not valid ") ||
		strings.HasPrefix(text, "No molly-session in cookie header.") ||
		text == "User account is deactivated"
}

// envelopeText returns the data member of a JSON response if it is a string, or "".
func envelopeText(body []byte) string {
	var envelope struct {
		Data any `json:"data"`
	}
	// The text may echo parts of the request, so it can contain anything.
	if err := json.Unmarshal(body, &envelope, jsontext.AllowInvalidUTF8(true),
		jsontext.AllowDuplicateNames(true)); err != nil {
		return ""
	}
	text, _ := envelope.Data.(string)
	return text
}
