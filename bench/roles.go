package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/mollygate/mollygate"
)

// roles lists what bench can do when it starts itself as a separate process. The first
// argument selects the role.
var roles = map[string]func(args []string) error{
	"caddy": func(args []string) error {
		os.Args = append([]string{"caddy"}, args...)
		caddycmd.Main()
		return nil
	},
	"auth-service": authService,
	"scale":        scaleRole,
}

// authService is a minimal service for forward_auth. Its arguments are the address to
// listen on and the digests of the valid Authorization headers.
func authService(args []string) error {
	known := make(map[string]bool)
	for _, digest := range args[1:] {
		known[digest] = true
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if !known[hex.EncodeToString(sum[:])] {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	server := &http.Server{Addr: args[0], Handler: handler} //nolint:gosec // only Caddy calls it
	return server.ListenAndServe()
}
