package mollymawktest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Password is the password of every user that the server creates. Each user's e-mail
// address is the user's name at example.com.
const Password = "mollymawk"

const (
	sessionCookie = "molly_session"
	csrfCookie    = "molly_csrf"

	sessionLifetime = 7 * 24 * 60 * 60 // seconds
	csrfLifetime    = 60 * 60
)

type user struct {
	name, email, uuid, password string // the password is a hash

	active, admin    bool
	tokens           []*token  // newest first
	cookies          []*cookie // sessions and CSRF values, newest first
	created, updated time.Time
	updates          []unikernelUpdate
	scaling          []scalingPolicy
}

type token struct {
	value, name string
	expiresIn   int64 // in seconds, counted from created
	created     time.Time
	usage       int64
}

type cookie struct {
	name, value string
	expiresIn   int64
	created     time.Time
	agent       string
}

// valid implements Mollymawk's lifetime rule: fewer than expiresIn whole seconds must have
// passed since creation.
func valid(created, now time.Time, expiresIn int64) bool {
	return int64(now.Sub(created)/time.Second) < expiresIn
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// hashPassword stands in for Mollymawk's slower password hash, which Mollymawk also sends
// to clients.
func hashPassword(password, uuid string) string {
	sum := sha256.Sum256([]byte(uuid + "-" + password))
	return hex.EncodeToString(sum[:])
}

func newUser(name, email, password string, now time.Time) *user {
	u := &user{name: name, email: email, uuid: newUUID(), created: now, updated: now}
	u.password = hashPassword(password, u.uuid)
	return u
}

func (u *user) addCookie(name string, lifetime int64, agent string, now time.Time) *cookie {
	c := &cookie{
		name:  name,
		value: base64.StdEncoding.EncodeToString([]byte(newUUID())), // 48 characters without "="
		agent: agent, expiresIn: lifetime, created: now,
	}
	u.cookies = slices.Insert(u.cookies, 0, c)
	return c
}

func (u *user) cookie(name, value string) *cookie {
	for _, c := range u.cookies {
		if c.name == name && c.value == value {
			return c
		}
	}
	return nil
}

// user returns the user with this name, or nil. The caller must hold s.mu.
func (s *Server) user(name string) *user {
	return s.userBy(func(u *user) bool { return u.name == name })
}

func (s *Server) userBy(matches func(*user) bool) *user {
	if i := slices.IndexFunc(s.users, matches); i >= 0 {
		return s.users[i]
	}
	return nil
}

// ensureUser returns the user with this name and creates the user if necessary. It panics
// if the name isn't a label. The caller must hold s.mu.
func (s *Server) ensureUser(name string) *user {
	name, err := label(name)
	if err != nil {
		panic("mollymawktest: user name: " + err.Error())
	}
	if u := s.user(name); u != nil {
		return u
	}
	u := newUser(name, name+"@example.com", Password, s.now())
	u.active = true
	s.users = append(s.users, u)
	return u
}

// AddUser creates an active user who isn't an administrator. It does nothing if the user
// already exists. It panics unless the name consists of 1 to 63 of the characters
// [A-Za-z0-9.-] and doesn't start with a dash.
func (s *Server) AddUser(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ensureUser(name)
}

// AddToken creates a token for a user and returns its value. The token is valid for expiry,
// truncated to whole seconds. AddToken creates the user if necessary.
func (s *Server) AddToken(user, name string, expiry time.Duration) string {
	value := newUUID()
	s.AddTokenValue(user, name, value, expiry)
	return value
}

// AddTokenValue is like [Server.AddToken], but with the given value.
func (s *Server) AddTokenValue(user, name, value string, expiry time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.ensureUser(user)
	u.tokens = slices.Insert(u.tokens, 0, &token{
		value: value, name: name, expiresIn: int64(expiry / time.Second), created: s.now(),
	})
}

// RevokeToken deletes the token with this value.
func (s *Server) RevokeToken(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		u.tokens = slices.DeleteFunc(u.tokens, func(t *token) bool { return t.value == value })
	}
}

// SetActive activates or deactivates a user. It creates the user if necessary.
func (s *Server) SetActive(user string, active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ensureUser(user).active = active
}

// SetAdmin sets whether a user is an administrator. It creates the user if necessary.
func (s *Server) SetAdmin(user string, admin bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ensureUser(user).admin = admin
}

// Session signs a user in and returns the value for the Cookie header, "molly_session=…".
// It creates the user if necessary.
func (s *Server) Session(user string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sessionCookie + "=" + s.ensureUser(user).addCookie(sessionCookie, sessionLifetime, "", s.now()).value
}

// CSRF returns a new CSRF value for a user, valid for an hour. It creates the user if
// necessary.
func (s *Server) CSRF(user string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ensureUser(user).addCookie(csrfCookie, csrfLifetime, "", s.now()).value
}

// byToken returns the token with this value and its owner, or nil. The caller must hold
// s.mu.
func (s *Server) byToken(value string) (*user, *token) {
	for _, u := range s.users {
		for _, t := range u.tokens {
			if t.value == value {
				return u, t
			}
		}
	}
	return nil, nil
}

// bySession returns the session with this value and its owner, or nil. The caller must hold
// s.mu.
func (s *Server) bySession(value string) (*user, *cookie) {
	for _, u := range s.users {
		if c := u.cookie(sessionCookie, value); c != nil {
			return u, c
		}
	}
	return nil, nil
}

// timestamp formats a time as Mollymawk's storage and API do.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + "-00:00" }

func (t *token) json() object {
	return object{
		{"token_type", "Bearer"},
		{"value", t.value},
		{"expires_in", t.expiresIn},
		{"created_at", timestamp(t.created)},
		{"last_access", timestamp(t.created)}, // Mollymawk never updates it
		{"name", t.name},
		{"usage_count", t.usage},
	}
}

func (c *cookie) json(uuid string) object {
	o := object{
		{"name", c.name},
		{"created_at", timestamp(c.created)},
		{"value", c.value},
		{"expires_in", c.expiresIn},
		{"uuid", uuid},
		{"last_access", timestamp(c.created)},
		{"user_agent", nil},
	}
	if c.agent != "" {
		o[len(o)-1].value = c.agent
	}
	return o
}

// json returns the user's complete record, including the password hash, all sessions and
// all tokens. The sign-in response contains this record.
func (u *user) json() object {
	o := object{{"name", u.name}, {"email", u.email}, {"email_verified", nil}, {"password", u.password},
		{"uuid", u.uuid}}
	tokens, cookies, updates, scaling := []any{}, []any{}, []any{}, []any{}
	for _, t := range u.tokens {
		tokens = append(tokens, t.json())
	}
	for _, c := range u.cookies {
		cookies = append(cookies, c.json(u.uuid))
	}
	for _, update := range u.updates {
		updates = append(updates, update.json())
	}
	for _, p := range u.scaling {
		scaling = append(scaling, p.json())
	}
	o = append(o, object{
		{"tokens", tokens},
		{"cookies", cookies},
		{"created_at", timestamp(u.created)},
		{"updated_at", timestamp(u.updated)},
		{"email_verification_uuid", nil},
		{"active", u.active},
		{"super_user", u.admin},
		{"unikernel_updates", updates},
		{"scaling_policies", scaling},
	}...)
	return o
}
