package caddymodule

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/mollygate/mollygate/gate"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("bearer_auth", parseBearerAuth)
	// bearer_auth runs before plugins such as rate_limit, which are ordered relative to
	// basic_auth and may use {http.auth.user.id} as a key.
	httpcaddyfile.RegisterDirectiveOrder("bearer_auth", httpcaddyfile.After, "try_files")
}

func parseBearerAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	if h.Option(appName) == nil {
		h.Next() // so that errors include a line number
		return nil, h.WrapErr(errNoStoreOption)
	}
	handler := new(BearerAuth)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	bearer_auth [<matcher>] {
//		routes             <table>
//		route              <method> <path> <scope> {
//			upload
//			websocket
//		}
//		browser_sessions   <cookie>
//		keys_page          <url>
//		realm              <realm>
//		max_body           <size>
//		max_upload         <size>
//		spool_uploads      <directory>
//		max_anonymous_body <size>|off
//		max_buffered       <size>|off
//		body_timeout       <duration>|off
//		answer_timeout     <duration>|off
//		detached_requests  <number>|off
//		request_headers    <name...>
//		failure_limit      <failures> <window>|off
//		refusals           handle_errors
//	}
//
// route can be repeated.
func (h *BearerAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("bearer_auth takes a block, not an argument such as %s", gate.ConfigWord(d.Val()))
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option != "route" {
			if seen[option] {
				return d.Errf("%s is specified twice", option)
			}
			seen[option] = true
		}
		if err := h.parseOption(d, option); err != nil {
			return err
		}
	}
	if _, err := h.table(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *BearerAuth) parseOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "routes":
		if !d.AllArgs(&h.Routes) {
			return d.Errf("routes: name one built-in route table: %s", strings.Join(gate.TableNames(), " or "))
		}
		if _, ok := gate.TableByName(h.Routes); !ok {
			return d.WrapErr(errUnknownTable(h.Routes))
		}
	case "route":
		return h.parseRoute(d)
	case "browser_sessions":
		if !d.AllArgs(&h.BrowserSessions) || !validCookieName(h.BrowserSessions) {
			return d.Err("browser_sessions: name the backend's session cookie, for example session_id")
		}
	case "keys_page":
		if !d.AllArgs(&h.KeysPage) || h.KeysPage == "" {
			return d.Err("keys_page: write the URL of the page where people create API keys, " +
				"for example https://keys.example.com/")
		}
	case "realm":
		if !d.AllArgs(&h.Realm) {
			return oneWord(d, option)
		}
	case "max_body":
		return parseSizeOption(d, option, &h.MaxBody)
	case "max_upload":
		return parseSizeOption(d, option, &h.MaxUpload)
	case "spool_uploads":
		if !d.AllArgs(&h.SpoolUploads) {
			return d.WrapErr(errSpoolPath)
		}
		if err := checkSpool(h.SpoolUploads); err != nil {
			return d.WrapErr(err)
		}
	case "max_anonymous_body":
		return parseOrOff(d, option, &h.MaxAnonymousBody, parseSize)
	case "max_buffered":
		return parseOrOff(d, option, &h.MaxBuffered, parseSize)
	case "detached_requests":
		return parseOrOff(d, option, &h.DetachedRequests, parseNumber)
	case "body_timeout":
		return parseOrOff(d, option, &h.BodyTimeout, parseTimeout)
	case "answer_timeout":
		return parseOrOff(d, option, &h.AnswerTimeout, parseTimeout)
	case "request_headers":
		h.RequestHeaders = append([]string{}, d.RemainingArgs()...)
	case "failure_limit":
		return h.parseFailureLimit(d)
	case "refusals":
		if !d.AllArgs(&h.Refusals) {
			return oneWord(d, option)
		}
	default:
		return d.Errf("unknown option %s; the options of bearer_auth are answer_timeout, body_timeout, "+
			"browser_sessions, detached_requests, failure_limit, keys_page, max_anonymous_body, max_body, "+
			"max_buffered, max_upload, realm, refusals, request_headers, route, routes and spool_uploads",
			gate.ConfigWord(option))
	}
	if err := h.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *BearerAuth) parseRoute(d *caddyfile.Dispenser) error {
	var custom CustomRoute
	if !d.AllArgs(&custom.Method, &custom.Path, &custom.Scope) {
		return d.Err("route: write a method, a path and a scope, with one line for each method, " +
			"for example: route POST /api/custom/build custom:build")
	}
	route := custom.route()
	if err := route.Check(); err != nil {
		return d.WrapErr(err)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		switch option {
		case "upload":
			custom.Upload = true
		case "websocket":
			custom.WebSocket = true
		case "target":
			var target CustomTarget
			if !d.AllArgs(&target.Type, &target.In, &target.Name) {
				return d.Err("target: write a type of resource, where its name is (query, json or path) and the name " +
					"or number there, for example: target project path 3")
			}
			if err := gate.TargetSource(target).Check(&route); err != nil {
				return d.WrapErr(err)
			}
			custom.Targets = append(custom.Targets, target)
			continue
		default:
			return d.Errf("unknown option %s; the options of route are target, upload and websocket",
				gate.ConfigWord(option))
		}
		if d.NextArg() {
			return d.Errf("%s takes no argument", option)
		}
	}
	h.CustomRoutes = append(h.CustomRoutes, custom)
	return nil
}

// parseOrOff parses the option's only value and stores the result in *value. It stores -1 for
// off.
func parseOrOff[T int | int64 | caddy.Duration](d *caddyfile.Dispenser, option string, value *T,
	parse func(text string) (T, error)) error {
	var text string
	if !d.AllArgs(&text) {
		return oneWord(d, option)
	}
	if text == "off" {
		*value = -1
		return nil
	}
	parsed, err := parse(text)
	if err != nil {
		return d.Errf("%s %s: %v, or off", option, gate.ConfigWord(text), err)
	}
	*value = parsed
	return nil
}

// parseSizeOption parses the option's only value as a size in bytes.
func parseSizeOption(d *caddyfile.Dispenser, option string, size *int64) error {
	var text string
	if !d.AllArgs(&text) {
		return oneWord(d, option)
	}
	bytes, err := parseSize(text)
	if err != nil {
		return d.Errf("%s %s: %v", option, gate.ConfigWord(text), err)
	}
	*size = bytes
	return nil
}

func parseSize(text string) (int64, error) {
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes == 0 || bytes > math.MaxInt64/2 {
		return 0, errors.New("write a size such as 1MiB or 500KB")
	}
	return int64(bytes), nil
}

func parseNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, errors.New("write a number, 1 or more")
	}
	return n, nil
}

func parseTimeout(text string) (caddy.Duration, error) {
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration <= 0 {
		return 0, errors.New("write a duration such as 30s or 5m")
	}
	return caddy.Duration(duration), nil
}

// Interface guards.
var _ caddyfile.Unmarshaler = (*BearerAuth)(nil)
