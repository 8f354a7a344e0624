package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
// If the store is shared by several gates, so are the sessions. The zero value is empty and
// ready to use. Sessions is safe for concurrent use.
type Sessions struct {
	mu sync.Mutex
	// counted is when a read in a session last counted at this gate as a use of its token.
	counted map[string]time.Time
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

// session is a session or an unused sign-in link.
type session struct {
	owner   owner
	expires time.Time
}

// sessionRecord is a session as it is stored in the store's values.
type sessionRecord struct {
	Name     string
	Expires  time.Time
	Operator bool `json:",omitempty"`
	// The fields of a token.Credential.
	Format token.Format `json:",omitempty"`
	Kind   token.Kind   `json:",omitempty"`
	ID     []byte       `json:",omitempty"`
	Digest []byte       `json:",omitempty"`
}

func (s session) encode() ([]byte, error) {
	r := sessionRecord{Name: s.owner.name, Expires: s.expires, Operator: s.owner.operator}
	if c := s.owner.credential; !s.owner.operator {
		r.Format, r.Kind, r.ID, r.Digest = c.Format, c.Kind, c.ID[:], c.Digest[:]
	}
	return json.Marshal(r)
}

// decodeSession reports false if value isn't a session.
func decodeSession(value []byte) (s session, ok bool) {
	var r sessionRecord
	if len(value) == 0 || json.Unmarshal(value, &r) != nil {
		return session{}, false
	}
	s = session{owner{name: r.Name, operator: r.Operator}, r.Expires}
	if c := &s.owner.credential; !r.Operator {
		c.Format, c.Kind = r.Format, r.Kind
		if copy(c.ID[:], r.ID) != len(c.ID) || copy(c.Digest[:], r.Digest) != len(c.Digest) {
			return session{}, false
		}
	}
	return s, true
}

const (
	sessionKey = "session/"
	linkKey    = "link/"

	// readInterval is how often reads in a session count as a use of its token.
	readInterval = time.Minute
	// syncTimeout limits how long a call waits for the sessions of other gates.
	syncTimeout = time.Second
)

// valueKey returns the key of the value for a cookie or a code. Values never contain a usable
// cookie or code.
func valueKey(prefix, secret string) string {
	digest := sha256.Sum256([]byte(secret))
	return prefix + hex.EncodeToString(digest[:])
}

// put stores a new session or link and returns its cookie or code, and when it expires. Once
// there are most of them, it deletes the one that would expire first.
func put(ctx context.Context, values tokenstore.Values, prefix string, of owner, lifetime time.Duration, most int,
	now time.Time) (secret string, expires time.Time, err error) {
	secret, expires = rand.Text(), now.Add(lifetime).Truncate(time.Second)
	if err := makeRoom(ctx, values, prefix, most, now); err != nil {
		return "", time.Time{}, err
	}
	value, err := session{of, expires}.encode()
	if err == nil {
		err = values.Put(ctx, valueKey(prefix, secret), value, lifetime)
	}
	return secret, expires, err
}

// makeRoom deletes expired sessions, and if there are still most of them, the one that expires
// first.
func makeRoom(ctx context.Context, values tokenstore.Values, prefix string, most int, now time.Time) error {
	n := 0
	values.Each(prefix, func(string, []byte) bool {
		n++
		return true
	})
	if n < most {
		return nil
	}
	var first string
	var earliest time.Time
	var expired []string
	eachSession(values, prefix, func(key string, s session) {
		if !now.Before(s.expires) {
			expired = append(expired, key)
		} else if first == "" || s.expires.Before(earliest) {
			first, earliest = key, s.expires
		}
	})
	if len(expired) == 0 && first != "" {
		expired = append(expired, first)
	}
	return values.Delete(ctx, expired...)
}

func eachSession(values tokenstore.Values, prefix string, visit func(key string, s session)) {
	values.Each(prefix, func(key string, value []byte) bool {
		if s, ok := decodeSession(value); ok {
			visit(key, s)
		}
		return true
	})
}

// begin starts a session and returns the cookie value and the session's expiry.
func (*Sessions) begin(ctx context.Context, store *tokenstore.Store, of owner) (value string, expires time.Time,
	err error) {
	return put(ctx, store.Values(), sessionKey, of, sessionLifetime, maxSessions, store.Now())
}

// find returns an open session. It doesn't wait.
func (*Sessions) find(store *tokenstore.Store, value string) (session, bool) {
	s, ok := decodeSession(store.Values().Get(valueKey(sessionKey, value)))
	return s, ok && store.Now().Before(s.expires)
}

// look is like find, but finds sessions that another gate has just begun, too. If it can't tell
// whether there is one, it returns an error.
func (s *Sessions) look(ctx context.Context, store *tokenstore.Store, value string) (session, bool, error) {
	open, ok := s.find(store, value)
	if ok || len(value) != len(rand.Text()) { // don't ask the shared store for other texts
		return open, ok, nil
	}
	if err := syncValues(ctx, store); err != nil {
		return session{}, false, err
	}
	open, ok = s.find(store, value)
	return open, ok, nil
}

// syncValues waits until the store's values include those that other gates have set.
func syncValues(ctx context.Context, store *tokenstore.Store) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	return store.Sync(ctx)
}

// countRead reports whether a read in an open session at the given time counts as a use of its
// token.
func (s *Sessions) countRead(value string, now time.Time) bool {
	key := valueKey(sessionKey, value)
	s.mu.Lock()
	defer s.mu.Unlock()
	// since is negative if the clock was set back.
	if since := now.Sub(s.counted[key]); since >= 0 && since < readInterval {
		return false
	}
	if s.counted == nil || len(s.counted) >= maxSessions {
		s.counted = make(map[string]time.Time)
	}
	s.counted[key] = now
	return true
}

func (*Sessions) end(ctx context.Context, store *tokenstore.Store, value string) error {
	return store.Values().Delete(ctx, valueKey(sessionKey, value))
}

// endAll ends all sessions and sign-in links of an actor and returns the number of sessions.
func (*Sessions) endAll(ctx context.Context, store *tokenstore.Store, actor string) (n int, err error) {
	if err := syncValues(ctx, store); err != nil {
		return 0, err
	}
	var keys []string
	for _, prefix := range []string{sessionKey, linkKey} {
		eachSession(store.Values(), prefix, func(key string, s session) {
			if s.owner.name == actor {
				keys = append(keys, key)
			}
		})
		if prefix == sessionKey {
			n = len(keys)
		}
	}
	return n, store.Values().Delete(ctx, keys...)
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
	open, ok, err := b.Sessions().look(r.Context(), store, value)
	if err != nil {
		refusal := gate.Refuse(gate.StoreUnavailable)
		refusal.Err = err
		return tokenstore.Actor{}, fromGate(refusal, b.Realm)
	}
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
		// But not after a store error: the token may still be valid.
		_ = b.Sessions().end(r.Context(), store, value) // it is refused in any case
	}
	return actor, refusal
}

// stillOpen returns a function that checks whether a session is still open.
func (b Bearer) stillOpen(store *tokenstore.Store, value string) func() error {
	sessions := b.Sessions()
	return func() error {
		if _, open := sessions.find(store, value); !open {
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
		_ = c.Bearer.Sessions().end(c.r.Context(), store, old) // the browser no longer has it
	}
	value, expires, err := c.Bearer.Sessions().begin(c.r.Context(), store, of)
	if err != nil {
		return c.storeRefusal(err)
	}
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
	open, _ := c.Bearer.Sessions().find(store, sessionCookie(c.r, c.Bearer.Secure(c.r)))
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
		open, _ := c.Bearer.Sessions().find(store, sessionCookie(c.r, c.Bearer.Secure(c.r)))
		if notKey != nil && open.owner.name != c.actor.Name {
			return refuseParameter("everywhere", "needs an admin token; your site signs you in without one")
		}
		n, err := c.Bearer.Sessions().endAll(c.r.Context(), store, c.actor.Name)
		if err != nil {
			return c.storeRefusal(err)
		}
		c.Logger.Info("signed out everywhere", zap.Inline(loggedActor(c.actor)), zap.Int("sessions", n))
	}
	secure := c.Bearer.Secure(c.r)
	if value := sessionCookie(c.r, secure); value != "" {
		if err := c.Bearer.Sessions().end(c.r.Context(), store, value); err != nil {
			return c.storeRefusal(err)
		}
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
