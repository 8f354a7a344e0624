package mollymawk

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// credentialRefused knows the answers to a bad token of the gate's. Mollymawk says
// 400 for all that a client can do wrong, so the text has to be looked at. The
// first two repeat the token.
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

// envelopeText returns the data of an answer if it is a text.
func envelopeText(body []byte) string {
	var envelope struct {
		Data any `json:"data"`
	}
	// The text holds what the backend was sent, which may be anything.
	if err := json.Unmarshal(body, &envelope, jsontext.AllowInvalidUTF8(true),
		jsontext.AllowDuplicateNames(true)); err != nil {
		return ""
	}
	text, _ := envelope.Data.(string)
	return text
}
