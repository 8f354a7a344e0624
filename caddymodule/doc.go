// Package caddymodule provides Mollygate's Caddy modules and Caddyfile directives. It only
// translates configuration, requests and responses: package gate decides what happens to a
// request, package tokenstore defines tokens, and package admin implements the admin API.
//
//	module                         Caddyfile                     file
//	api_tokens                     { api_tokens { … } }          app.go
//	api_tokens.stores.bbolt        store bbolt …                 store_bbolt.go
//	http.handlers.bearer_auth      bearer_auth { … }             bearerauth.go
//	http.handlers.api_tokens_admin api_tokens_admin              siteadmin.go
//	admin.api.api_tokens           (on Caddy's admin endpoint)   adminendpoint.go
//
// The command line is in package command.
//
// # Lifetime of the store
//
// The app inspects the store's file when it is provisioned and opens it when it starts, unless
// this process already has it open. Configurations before and after a reload share the open
// store, which is identified by its canonical path. The last configuration to be cleaned up
// closes it.
package caddymodule
