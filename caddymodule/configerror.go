package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/mollygate/mollygate/gate"
)

// redactedError is an error whose text contained an upstream token.
type redactedError struct {
	text  string
	cause error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }

// minRedacted is the minimum length, in bytes, of an upstream token that is removed from
// errors. Shorter tokens can't be told apart from ordinary words.
const minRedacted = 8

// redactConfigError removes upstream tokens from an error about loading the configuration.
// They may appear in other options too, such as the store's path.
func (a *App) redactConfigError(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, account := range a.Accounts {
		if account == nil {
			continue
		}
		token, _ := account.resolve() // other code reports its error
		for _, secret := range []string{token, account.UpstreamToken} {
			if len(secret) >= minRedacted {
				text = gate.NewUpstreamToken(secret).Redact(text)
			}
		}
	}
	if text == err.Error() {
		return err
	}
	return &redactedError{text, err}
}

// checkStoreModule returns an error if a store's configuration doesn't name a known module.
// Without this check, Caddy's own error would quote the name.
func checkStoreModule(raw json.RawMessage) error {
	var store struct {
		Module string `json:"module"`
	}
	if json.Unmarshal(raw, &store) != nil || store.Module == "" {
		return optionError(`store: must be an object with a module, for example {"module":"bbolt"}`)
	}
	if _, err := caddy.GetModule(storeNamespace + store.Module); err != nil {
		return errUnknownStore(store.Module)
	}
	return nil
}

// storeNamespace is the prefix of store module IDs.
const storeNamespace = "api_tokens.stores."

func errUnknownStore(name string) error {
	return optionError("this build of Caddy has no token store " + gate.ConfigWord(name) +
		": write bbolt, or build Caddy with the module that provides it")
}
