// Package caddymodule is Mollygate as Caddy modules and Caddyfile directives. It
// translates configuration, requests and answers, and decides nothing: what
// happens to a request is decided in package gate, what a token is in package
// tokenstore, and what admins can do in package admin.
//
//	module                         Caddyfile                     file
//	api_tokens                     { api_tokens { … } }          app.go
//	api_tokens.stores.bbolt        store bbolt …                 store_bbolt.go
//	http.handlers.bearer_auth      bearer_auth { … }             bearerauth.go
//	http.handlers.api_tokens_admin api_tokens_admin              siteadmin.go
//	admin.api.api_tokens           (on Caddy's admin endpoint)   adminendpoint.go
//
// Its command line is package command.
//
// # Life of the store
//
// The app looks at the store's file while it is provisioned, and opens it when it
// starts, unless this process has it open already: the open store is shared, by
// its canonical path, by the configurations before and after a reload. The last
// one to be cleaned up closes it.
package caddymodule
