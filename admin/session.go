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
	// sessionLifetime is from the sign-in on; use doesn't make it longer.
	sessionLifetime = 12 * time.Hour
	// maxSessions bounds the memory. Beyond it those that end first end now.
	maxSessions = 10_000
)

// Sessions are the browsers that have signed in with an admin token, each known by a
// cookie. Of the token only its digest is kept, which is looked up with each request:
// a session ends with its token. The zero Sessions has none; it may be used by any
// number of goroutines.
type Sessions struct {
	mu sync.Mutex
	// open are by the digest of the cookie's value.
	open map[[sha256.Size]byte]session
}

type session struct {
	credential token.Credential
	expires    time.Time
	// counted is when a read of the session last counted as a use of its token.
	counted time.Time
}

// readInterval is how often the reads of a session count as a use of its token.
const readInterval = time.Minute

// begin returns the value of a new session's cookie.
func (s *Sessions) begin(credential token.Credential, now time.Time) (value string, expires time.Time) {
	value, expires = rand.Text(), now.Add(sessionLifetime).Truncate(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[[sha256.Size]byte]session)
	}
	if len(s.open) >= maxSessions {
		s.forget(now)
	}
	s.open[sha256.Sum256([]byte(value))] = session{credential: credential, expires: expires}
	return value, expires
}

// forget drops the sessions that are over, or else the one that ends first.
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

// countRead reports whether a read of the session now counts as a use of its token.
func (s *Sessions) countRead(value string, now time.Time) bool {
	key := sha256.Sum256([]byte(value))
	s.mu.Lock()
	defer s.mu.Unlock()
	open, ok := s.open[key]
	// The clock may have been put back.
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

// sessionCookie returns the request's session cookie, or "". A browser sends a
// __Host- cookie only to the host that set it, over TLS.
func sessionCookie(r *http.Request, secure bool) string {
	cookie, err := r.Cookie(gate.SessionCookie(secure))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// setSessionCookie makes the browser keep a session, or with an empty value forget
// it.
func setSessionCookie(w http.ResponseWriter, secure bool, value string) {
	cookie := &http.Cookie{ //nolint:gosec // plain HTTP is for this machine alone
		Name: gate.SessionCookie(secure), Value: value, Path: "/",
		Secure: secure, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(sessionLifetime / time.Second),
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// authenticateSession says who has signed in, or why that isn't good any more.
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
	match, failed := gate.Present(store, open.credential, token.KindAdmin, now)
	actor, refusal := b.admit(r, store, now, credential{match: match, session: value, ip: b.ClientIP(r)}, failed)
	if refusal != nil && refusal.Problem.Status < http.StatusInternalServerError {
		b.Sessions().end(value) // what can't be read now may be good
	}
	return actor, refusal
}

func refuseEndedSession() gate.Refusal {
	ended := gate.Refuse(gate.MissingToken)
	ended.Detail = "The session is over. Sign in again with an admin key."
	return ended
}

// signedIn is who a browser is signed in as.
type signedIn struct {
	Actor string `json:"actor"`
	// Name is the token's; null for users that a site trusts.
	Name textOrNull `json:"name"`
	// ExpiresAt is when the session ends; null without one.
	ExpiresAt timeOrNull `json:"expires_at"`
}

// maxSignIn is the most bytes of a sign-in's body, which anybody may send. A key has
// less than a hundred.
const maxSignIn = 4 << 10

type signInInput struct {
	Token *string `json:"token"`
}

// signIn begins a session. It is the one call that nobody has to be let in for.
func (c *call) signIn() *Refusal {
	var in signInInput
	if refusal := c.decode(&in); refusal != nil {
		return refusal
	}
	var token string
	if in.Token != nil {
		token = strings.TrimSpace(*in.Token) // pasted with what stood around it
	}
	if token == "" {
		return refuseField("token", "is required: the admin key (mma_...) to sign in with")
	}
	secure := c.Bearer.Secure(c.r)
	if !secure && !toLoopback(c.r) {
		return refuseError(codeInsecure,
			"Signing in over plain HTTP would show the key to the network. Use https, or on this machine http://localhost. "+
				"If a proxy in front of Caddy speaks https, name it in trusted_proxies.")
	}
	// As if it had come as bearer: with the same checks, counts and limit of failures.
	request := c.r.Clone(c.r.Context())
	request.Header = http.Header{"Authorization": {"Bearer " + token}, "User-Agent": c.r.Header["User-Agent"]}
	actor, refusal := c.Authenticate(request)
	if refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	credential, err := c.Policy.Prefixes.Parse(token)
	if err != nil {
		return c.storeRefusal(err) // it has been read before
	}
	if old := sessionCookie(c.r, secure); old != "" {
		c.Bearer.Sessions().end(old)
	}
	value, expires := c.Bearer.Sessions().begin(credential, store.Now())
	setSessionCookie(c.w, secure, value)
	c.Logger.Info("signed in", zap.Inline(loggedActor(actor)))
	return c.answerSession(store, actor, expires)
}

// showSession says who calls.
func (c *call) showSession() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	open, _ := c.Bearer.Sessions().find(sessionCookie(c.r, c.Bearer.Secure(c.r)), store.Now())
	return c.answerSession(store, c.actor, open.expires)
}

func (c *call) answerSession(store *tokenstore.Store, actor tokenstore.Actor, expires time.Time) *Refusal {
	answer := signedIn{Actor: actor.Name, ExpiresAt: timeOrNull(expires)}
	if id, err := token.ParseID(actor.Name); err == nil { // else a trusted user
		if found, err := store.Get(id); err == nil {
			answer.Name = textOrNull(found.Token.Name)
		}
	}
	return c.answer(http.StatusOK, answer)
}

// signOut ends the session; without one it does nothing.
func (c *call) signOut() *Refusal {
	if _, refusal := c.store(); refusal != nil {
		return refusal
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

// toLoopback says whether the request was sent to this machine by a name that never
// leads elsewhere (RFC 6761 section 6.3).
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
