package mollymawktest

import (
	"maps"
	"net/http"
)

// route handles a path. Each path accepts a single method.
type route struct {
	method string
	access access
	handle func(*call)
	// closes reports whether the connection is closed after every response, including
	// refusals.
	closes bool
}

// dispatch checks the exact path, then the method, then the caller, and then calls the
// route's handler. The handler checks the query and the body.
func (s *Server) dispatch(c *call) {
	defer c.catch()
	if s.faults.Load().silent(c.path) {
		return
	}
	r, ok := s.routes[c.path]
	if !ok {
		c.errorPage(http.StatusBadRequest, "Page not found", "This page cannot be found.")
		return
	}
	c.closes = r.closes
	if c.head.method != r.method {
		c.say(http.StatusBadRequest, "Bad HTTP request method.")
		return
	}
	if c.authenticate(r.access) {
		r.handle(c)
	}
}

func (s *Server) table() map[string]route {
	const (
		get  = http.MethodGet
		post = http.MethodPost
	)
	blocks, restart := s.blockWord(), (*call).restartUnikernel
	if s.options.Generation == Generation2025 {
		restart = (*call).restartUnikernelByName
	}
	routes := map[string]route{
		"/api/unikernels":                  {get, byToken, (*call).listUnikernels, false},
		"/api/unikernel/create":            {post, byToken, (*call).createUnikernel, false},
		"/api/unikernel/destroy":           {post, byToken, (*call).destroyUnikernel, false},
		"/api/unikernel/restart":           {post, byToken, restart, false},
		"/api/unikernel/console":           {get, byToken, (*call).console, false},
		"/api/unikernel/update":            {post, byToken, (*call).updateUnikernel, false},
		"/api/unikernel/rollback":          {post, byToken, (*call).rollbackUnikernel, false},
		"/api/unikernel/monitoring/status": {get, byToken, (*call).monitoringStatus, false},
		"/api/unikernel/monitoring/update": {post, byToken, (*call).monitoringUpdate, false},
		"/api/unikernel/scaling/update":    {post, byToken, (*call).scalingUpdate, false},
		"/api/" + blocks + "/create":       {post, byToken, (*call).createBlock, false},
		"/api/" + blocks + "/upload":       {post, byToken, (*call).uploadBlock, false},
		"/api/" + blocks + "/delete":       {post, byToken, (*call).deleteBlock, false},
		"/api/" + blocks + "/download":     {post, byToken, (*call).downloadBlock, true},
		"/api/tokens/create":               {post, bySessionJSON, (*call).createToken, false},
		"/api/tokens/update": {post, bySessionJSON,
			accept("Update token", "token_name", "token_value"), false},
		"/api/tokens/delete": {post, bySessionJSON, accept("Delete token", "token_value"), false},
		"/api/login":         {post, public, (*call).login, false},
		"/api/register":      {post, public, (*call).register, false},
		"/logout":            {post, bySession, accept(""), false},
		"/account/password/update": {post, bySession,
			accept("Update password", "current_password", "new_password", "confirm_password"), false},
		"/api/account/session/close":           {post, bySession, accept("Close session", "session_value"), false},
		"/api/account/sessions/close":          {post, bySession, accept(""), false},
		"/api/admin/albatross/retry":           {get, byAdminJSON, (*call).done, false},
		"/api/admin/u/policy/update":           {post, byAdminJSON, accept(""), false},
		"/api/admin/user/activate/toggle":      {post, byAdminJSON, accept(""), false},
		"/api/admin/user/admin/toggle":         {post, byAdminJSON, accept(""), false},
		"/api/admin/user/account/delete":       {post, byAdminJSON, accept(""), false},
		"/api/admin/settings/email/update":     {post, byAdminJSON, accept(""), false},
		"/api/admin/settings/email/test":       {post, byAdminJSON, accept(""), false},
		"/api/admin/settings/albatross/create": {post, byAdminJSON, accept(""), false},
		"/api/admin/settings/albatross/update": {post, byAdminJSON, accept(""), false},
		"/api/admin/settings/albatross/delete": {post, byAdminJSON, accept(""), false},
	}
	if s.options.Generation == Generation2025 { // these routes were added in May 2026
		for _, path := range []string{"/api/unikernel/monitoring/status", "/api/unikernel/monitoring/update",
			"/api/unikernel/scaling/update"} {
			delete(routes, path)
		}
	}
	maps.Copy(routes, s.pages())
	return routes
}

// blockWord returns the word for block devices in paths.
func (s *Server) blockWord() string {
	if s.options.Generation == Generation2025 {
		return "volume"
	}
	return "block"
}
