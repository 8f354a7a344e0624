package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/mollygate/mollygate/gate"
)

// redactedError is an error whose text had an upstream token.
type redactedError struct {
	text  string
	cause error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }

// leastHidden is how long an upstream token is, in bytes, that is removed from errors. A
// shorter one can't be told from other words.
const leastHidden = 8

// withoutTokens returns an error of loading the configuration without the upstream tokens,
// which may be in other options too, such as in the path of the store.
func (a *App) withoutTokens(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, account := range a.Accounts {
		if account == nil {
			continue
		}
		token, _ := account.resolve() // its error is another matter
		for _, secret := range []string{token, account.UpstreamToken} {
			if len(secret) >= leastHidden {
				text = gate.Redact(text, secret)
			}
		}
	}
	if text == err.Error() {
		return err
	}
	return &redactedError{text, err}
}

// checkStoreModule returns an error if the configuration of a store names no module. That
// of Caddy quotes what it names.
func checkStoreModule(raw json.RawMessage) error {
	var store struct {
		Module string `json:"module"`
	}
	if json.Unmarshal(raw, &store) != nil || store.Module == "" {
		return optionError(`store: write an object with a module, for example {"module":"bbolt"}`)
	}
	if _, err := caddy.GetModule(storeNamespace + store.Module); err != nil {
		return errUnknownStore(store.Module)
	}
	return nil
}

// storeNamespace begins the IDs of modules that are stores.
const storeNamespace = "api_tokens.stores."

func errUnknownStore(name string) error {
	return optionError("this Caddy has no token store " + gate.ConfigWord(name) +
		": write bbolt, or build Caddy with the module that brings it")
}
