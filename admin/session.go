package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

const (
	// sessionLifetime is how long a session lasts after sign-in. Using the session doesn't
	// extend it.
	sessionLifetime = 12 * time.Hour
	// maxSessions limits memory use. Once the limit is reached, starting a session ends the
	// session that would expire first.
	maxSessions = 10_000
)

// Sessions holds the sessions of browsers that have signed in with an admin token or a
// sign-in link, and the unused links. Each session is identified by a cookie and holds only
// the token's digest, which is looked up on every request, so a session ends with its token.
// The zero value is empty and ready to use. Sessions is safe for concurrent use.
type Sessions struct {
	mu sync.Mutex
	// open maps the digest of a cookie's value to its session.
	open map[[sha256.Size]byte]session
	// links maps the digest of a sign-in link's code to the link.
	links map[[sha256.Size]byte]link
}

// owner is the caller whose rights a session has.
type owner struct {
	// name is the caller's name as an actor.
	name string
	// credential is the caller's admin token, unless operator is set.
	credential token.Credential
	// operator is set for callers on Caddy's admin endpoint, who need no token.
	operator bool
}

type session struct {
	owner   owner
	expires time.Time
	// counted is when a read in the session last counted as a use of its token.
	counted time.Time
}

// readInterval is how often reads in a session count as a use of its token.
const readInterval = time.Minute

// begin starts a session and returns the cookie value and the session's expiry.
func (s *Sessions) begin(of owner, now time.Time) (value string, expires time.Time) {
	value, expires = rand.Text(), now.Add(sessionLifetime).Truncate(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[[sha256.Size]byte]session)
	}
	if len(s.open) >= maxSessions {
		s.forget(now)
	}
	s.open[sha256.Sum256([]byte(value))] = session{owner: of, expires: expires}
	return value, expires
}

// forget deletes expired sessions. If none has expired, it deletes the session that
// expires first.
func (s *Sessions) forget(now time.Time) {
	var first [sha256.Size]byte
	for key, open := range s.open {
		if !now.Before(open.expires) {
			delete(s.open, key)
		} else if known, ok := s.open[first]; !ok || open.expires.Before(known.expires) {
			first = key
		}
	}
	if len(s.open) >= maxSessions {
		delete(s.open, first)
	}
}

func (s *Sessions) find(value string, now time.Time) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open, ok := s.open[sha256.Sum256([]byte(value))]
	if !ok || !now.Before(open.expires) {
		return session{}, false
	}
	return open, true
}

// countRead reports whether a read in the session at the given time counts as a use of its
// token.
func (s *Sessions) countRead(value string, now time.Time) bool {
	key := sha256.Sum256([]byte(value))
	s.mu.Lock()
	defer s.mu.Unlock()
	open, ok := s.open[key]
	// since is negative if the clock was set back.
	if since := now.Sub(open.counted); !ok || since >= 0 && since < readInterval {
		return false
	}
	open.counted = now
	s.open[key] = open
	return true
}

func (s *Sessions) end(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(value)))
}

// endAll ends all sessions and sign-in links of an actor and returns the number of sessions.
func (s *Sessions) endAll(actor string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, open := range s.open {
		if open.owner.name == actor {
			delete(s.open, key)
			n++
		}
	}
	for key, l := range s.links {
		if l.owner.name == actor {
			delete(s.links, key)
		}
	}
	return n
}

// sessionCookie returns the request's session cookie, or "". A browser sends a __Host-
// cookie only over TLS, and only to the host that set it.
func sessionCookie(r *http.Request, secure bool) string {
	cookie, err := r.Cookie(gate.SessionCookie(secure))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// setSessionCookie sets the session cookie, or deletes it if the value is empty.
func setSessionCookie(w http.ResponseWriter, secure bool, value string) {
	cookie := &http.Cookie{ //nolint:gosec // Secure is off only for plain HTTP to this machine
		Name: gate.SessionCookie(secure), Value: value, Path: "/",
		Secure: secure, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(sessionLifetime / time.Second),
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// authenticateSession returns a session's caller, or the reason for refusing the session.
func (b Bearer) authenticateSession(r *http.Request, value string) (tokenstore.Actor, *Refusal) {
	store, refusal := b.open(r)
	if refusal != nil {
		return tokenstore.Actor{}, refusal
	}
	now := store.Now()
	open, ok := b.Sessions().find(value, now)
	if !ok {
		return tokenstore.Actor{}, fromGate(refuseEndedSession(), b.Realm)
	}
	if open.owner.operator {
		actor := tokenstore.Actor{Name: open.owner.name, Address: gate.AddressText(b.ClientIP(r)),
			Authorize: b.stillOpen(store, value)}
		return actor, nil
	}
	match, failed := gate.Present(store, open.owner.credential, token.KindAdmin, now)
	actor, refusal := b.admit(r, store, now, credential{match: match, session: value, ip: b.ClientIP(r),
		route: routeName(r), reads: onlyReads(r)}, failed)
	if refusal != nil && refusal.Problem.Status < http.StatusInternalServerError {
		b.Sessions().end(value) // but not after a store error: the token may still be valid
	}
	return actor, refusal
}

// stillOpen returns a function that checks whether a session is still open.
func (b Bearer) stillOpen(store *tokenstore.Store, value string) func() error {
	sessions := b.Sessions()
	return func() error {
		if _, open := sessions.find(value, store.Now()); !open {
			return &refusalError{fromGate(refuseEndedSession(), b.Realm)}
		}
		return nil
	}
}

func refuseEndedSession() gate.Refusal {
	ended := gate.Refuse(gate.MissingToken)
	ended.Detail = "Your session has ended. Sign in again with an admin key."
	return ended
}

// signedIn is the response body that identifies the caller.
type signedIn struct {
	Actor string `json:"actor"`
	// Name is the token's name, or null for users that the site trusts.
	Name textOrNull `json:"name"`
	// ExpiresAt is when the session ends, or null if there is no session.
	ExpiresAt timeOrNull `json:"expires_at"`
}

// maxSignIn is the maximum length of a sign-in request's body, in bytes. It is low because
// anyone can send one. Keys and codes are shorter than 100 bytes.
const maxSignIn = 4 << 10

type signInInput struct {
	Token *string `json:"token"`
	Code  *string `json:"code"`
}

// signIn starts a session for an admin token or for the code of a sign-in link. It is the only
// call that needs no authentication.
func (c *call) signIn() *Refusal {
	var in signInInput
	if refusal := c.decode(&in); refusal != nil {
		return refusal
	}
	var token, code string
	if in.Token != nil {
		token = strings.TrimSpace(*in.Token) // users paste keys with surrounding space
	}
	if in.Code != nil {
		code = *in.Code
	}
	switch {
	case token == "" && code == "":
		return refuseField("token", "is required: sign in with an admin key (mma_...)")
	case token != "" && code != "":
		return refuseField("code", "can't be combined with token")
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	var (
		secure = c.Bearer.Secure(c.r)
		of     owner
		actor  tokenstore.Actor
	)
	if code != "" {
		of, actor, refusal = c.useLink(store, code, secure)
	} else {
		of, actor, refusal = c.useToken(token, secure)
	}
	if refusal != nil {
		return refusal
	}
	if old := sessionCookie(c.r, secure); old != "" {
		c.Bearer.Sessions().end(old)
	}
	value, expires := c.Bearer.Sessions().begin(of, store.Now())
	setSessionCookie(c.w, secure, value)
	c.Logger.Info("signed in", zap.Inline(loggedActor(actor)), zap.Bool("link", code != ""))
	return c.respondWithSession(store, actor, expires)
}

// useToken returns the owner of an admin token, and the caller as an actor. The token is checked
// and counted as if it were sent as a bearer token.
func (c *call) useToken(token string, secure bool) (owner, tokenstore.Actor, *Refusal) {
	if refusal := c.refuseInsecure(secure); refusal != nil {
		return owner{}, tokenstore.Actor{}, refusal
	}
	request := c.r.Clone(c.r.Context())
	request.Header = http.Header{"Authorization": {"Bearer " + token}, "User-Agent": c.r.Header["User-Agent"]}
	actor, refusal := c.Authenticate(request)
	if refusal != nil {
		return owner{}, tokenstore.Actor{}, refusal
	}
	credential, err := c.Policy.Prefixes.Parse(token)
	if err != nil {
		return owner{}, tokenstore.Actor{}, c.storeRefusal(err) // can't happen: Authenticate has parsed it
	}
	return owner{name: actor.Name, credential: credential}, actor, nil
}

// refuseInsecure refuses a sign-in that anyone on the network could have read.
func (c *call) refuseInsecure(secure bool) *Refusal {
	if secure || toLoopback(c.r) {
		return nil
	}
	return refuseError(codeInsecure,
		"Signing in over plain HTTP would expose the key to the network. "+
			"Use https, or http://localhost on the server itself. "+
			"If a proxy in front of Caddy serves https, add it to trusted_proxies.")
}

// showSession responds with the caller's identity.
func (c *call) showSession() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	open, _ := c.Bearer.Sessions().find(sessionCookie(c.r, c.Bearer.Secure(c.r)), store.Now())
	return c.respondWithSession(store, c.actor, open.expires)
}

func (c *call) respondWithSession(store *tokenstore.Store, actor tokenstore.Actor, expires time.Time) *Refusal {
	response := signedIn{Actor: actor.Name, ExpiresAt: timeOrNull(expires)}
	if id, err := token.ParseID(actor.Name); err == nil { // otherwise the actor is a trusted user
		if found, err := store.Get(id); err == nil {
			response.Name = textOrNull(found.Token.Name)
		}
	}
	return c.respond(http.StatusOK, response)
}

var signOutParameters = []string{"everywhere"}

// signOut ends the session, if there is one, or all sessions and sign-in links of the caller.
func (c *call) signOut() *Refusal {
	everywhere := false
	if value, given := c.parameters["everywhere"]; given {
		parsed, rule := parseBool(value)
		if rule != "" {
			return refuseParameter("everywhere", rule)
		}
		everywhere = *parsed
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if everywhere {
		_, notKey := token.ParseID(c.actor.Name)
		open, _ := c.Bearer.Sessions().find(sessionCookie(c.r, c.Bearer.Secure(c.r)), store.Now())
		if notKey != nil && open.owner.name != c.actor.Name {
			return refuseParameter("everywhere", "needs an admin token; your site signs you in without one")
		}
		n := c.Bearer.Sessions().endAll(c.actor.Name)
		c.Logger.Info("signed out everywhere", zap.Inline(loggedActor(c.actor)), zap.Int("sessions", n))
	}
	secure := c.Bearer.Secure(c.r)
	if value := sessionCookie(c.r, secure); value != "" {
		c.Bearer.Sessions().end(value)
		c.Logger.Info("signed out", zap.Inline(loggedActor(c.actor)))
	}
	setSessionCookie(c.w, secure, "")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// toLoopback reports whether the request's host is a loopback address or a name that always
// resolves to one (RFC 6761 section 6.3).
func toLoopback(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
