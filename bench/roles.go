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

// roles are what this program is as a process of its own.
var roles = map[string]func(args []string) error{
	"caddy": func(args []string) error {
		os.Args = append([]string{"caddy"}, args...)
		caddycmd.Main()
		return nil
	},
	"auth-service": authService,
	"scale":        scaleRole,
}

// authService is the least that forward_auth can ask: an address to listen at, and the
// digests of the Authorization headers that are good.
func authService(args []string) error {
	known := make(map[string]bool)
	for _, digest := range args[1:] {
		known[digest] = true
	}
	server := &http.Server{Addr: args[0], Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // nobody but Caddy calls it
		sum := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if !known[hex.EncodeToString(sum[:])] {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})}
	return server.ListenAndServe()
}
