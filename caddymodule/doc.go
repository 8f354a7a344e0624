// Package caddymodule provides Mollygate's Caddy modules and Caddyfile directives. It connects
// Caddy's configuration, requests and responses to Mollygate's other packages: gate decides
// how to handle a request, tokenstore defines tokens, and admin implements the admin API.
//
//	module                         Caddyfile                     file
//	api_tokens                     { api_tokens { … } }          app.go
//	api_tokens.stores.bbolt        store bbolt …                 store_bbolt.go
//	http.handlers.bearer_auth      bearer_auth { … }             bearerauth.go
//	http.handlers.api_tokens_admin api_tokens_admin              siteadmin.go
//	admin.api.api_tokens           (on Caddy's admin endpoint)   adminendpoint.go
//
// Package command provides the command line.
//
// # Store lifetime
//
// The app inspects the store's file during provisioning and opens the store when it starts,
// unless this process already has it open. During a reload, the old and the new configuration
// share the open store, which is identified by its canonical path. The store closes when the
// last configuration that uses it is cleaned up.
package caddymodule
