//go:build ignore

// This program made the stores in this directory; see README.md.
package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// opened is the time at which tests open the stores.
var opened = time.Date(2027, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

var policy = tokenstore.Policy{
	Prefixes: tokenstore.Prefixes{tokenstore.DefaultPrefix},
	Accounts: []string{"default", "other"},
	Catalog: tokenstore.Catalog{
		Scopes: []tokenstore.CatalogScope{{Scope: tokenstore.Scope{Name: "unikernel:list"}},
			{Scope: tokenstore.Scope{Name: "unikernel:create"}}, {Scope: tokenstore.Scope{Name: "volume:list"}}},
		Presets: map[string]tokenstore.Grants{"full": {"*"}, "read": {"unikernel:list", "volume:list"}},
	},
}

var actor = tokenstore.Actor{Name: "caddy-admin", Address: "192.0.2.1"}

// process is a Mollygate that has a store open. It flushes only when it is asked to.
type process struct {
	backend *bolt.Backend
	store   *tokenstore.Store
	now     time.Time
}

func start(path string, now time.Time, random *rand.ChaCha8) *process {
	p := &process{now: now}
	var err error
	p.backend, err = bolt.Open(path)
	check(err)
	p.store, err = tokenstore.Open(p.backend, tokenstore.Options{
		Clock:   tokenstore.ClockFunc(func() time.Time { return p.now }),
		Elapsed: func() time.Duration { return p.now.Sub(now) },
		Random:  random, FlushInterval: -1,
	})
	check(err)
	return p
}

// made is a token and what the program knows of it.
type made struct {
	id               tokenstore.ID
	secret, previous string
	allowed, denied  uint64
	last             time.Time
}

type maker struct {
	*process
	dir, path string
	random    *rand.ChaCha8
	tokens    map[string]*made
	order     []string
	deleted   []tokenstore.ID
	ended     []contentsEnded
	requests  map[string]string
}

func newMaker(seed byte) *maker {
	dir, err := os.MkdirTemp("", "release-")
	check(err)
	return &maker{dir: dir, path: filepath.Join(dir, "tokens.db"), random: rand.NewChaCha8([32]byte{seed}),
		tokens: make(map[string]*made), requests: make(map[string]string)}
}

// run starts a process at a time before opened.
func (m *maker) run(before time.Duration) { m.process = start(m.path, opened.Add(-before), m.random) }

func (m *maker) pass(d time.Duration) { m.now = m.now.Add(d) }

func (m *maker) close() { check(m.store.Close()) }

func (m *maker) add(name string, draft tokenstore.Draft) *made {
	draft.Name = name
	if draft.Kind == 0 {
		draft.Kind = tokenstore.KindAPI
	}
	if draft.Kind == tokenstore.KindAPI && draft.Preset == "" && draft.Scopes == nil {
		draft.Preset = "full"
	}
	if draft.Expiry == (tokenstore.Expiry{}) {
		draft.Expiry = in("1y")
	}
	token, secret, _, err := m.store.CreateOnce(policy, draft, actor,
		tokenstore.Request{Key: "create " + name, Body: []byte(name)})
	check(err)
	if opened.Sub(m.now) < tokenstore.RequestRetention {
		m.requests[name] = token.ID.String()
	}
	return m.note(name, &made{id: token.ID, secret: secret.Reveal()})
}

func (m *maker) imported(name, uuid string) *made {
	token, _, err := m.store.Import(policy, tokenstore.Draft{Kind: tokenstore.KindAPI, Name: name,
		Scopes: tokenstore.Grants{"unikernel:*"}, Expiry: in("90d")}, uuid, actor)
	check(err)
	return m.note(name, &made{id: token.ID, secret: uuid})
}

func (m *maker) note(name string, token *made) *made {
	m.tokens[name] = token
	m.order = append(m.order, name)
	m.pass(time.Second)
	return token
}

func (m *maker) rotate(name string, grace time.Duration) {
	token := m.tokens[name]
	_, secret, err := m.store.Rotate(policy, token.id, tokenstore.Rotation{Grace: grace}, actor)
	check(err)
	token.previous, token.secret = token.secret, secret.Reveal()
	m.pass(time.Second)
}

func in(lifetime string) tokenstore.Expiry {
	l, err := tokenstore.ParseLifetime(lifetime)
	check(err)
	return tokenstore.Expiry{ExpiresIn: l}
}

func (m *maker) match(secret string) tokenstore.Match {
	credential, err := policy.Prefixes.Parse(secret)
	check(err)
	match, err := m.store.Authenticate(credential, m.now)
	check(err)
	return match
}

// use makes allowed requests, a second apart.
func (m *maker) use(name, scope string, n int) { m.useBy(name, m.tokens[name].secret, scope, n) }

func (m *maker) usePrevious(name, scope string, n int) {
	m.useBy(name, m.tokens[name].previous, scope, n)
}

func (m *maker) useBy(name, secret, scope string, n int) {
	token, match := m.tokens[name], m.match(secret)
	for range n {
		_, _, err := m.store.TakeQuota(match, m.now)
		check(err)
		m.store.CountAllowed(match, scope,
			tokenstore.LastUse{Time: m.now, IP: "203.0.113.7", UserAgent: "agent of " + name, Route: routes[scope]})
		token.allowed++
		token.last = m.now.Truncate(time.Microsecond)
		m.pass(time.Second)
	}
}

var routes = map[string]string{"unikernel:list": "GET /api/unikernels",
	"unikernel:create": "POST /api/unikernel/create", "volume:list": "GET /api/volumes", "": "GET /api/tokens"}

// deny makes refused requests, a second apart.
func (m *maker) deny(name, scope, outcome string, n int) {
	token, match := m.tokens[name], m.match(m.tokens[name].secret)
	for range n {
		m.store.CountDenied(match, m.now, scope, outcome)
		token.denied++
		m.pass(time.Second)
	}
}

// fill makes the tokens and what they did until the day before opened. The store is
// closed then.
func (m *maker) fill() {
	m.run(20 * day)
	m.add("plain", tokenstore.Draft{})
	m.add("scopes", tokenstore.Draft{Scopes: tokenstore.Grants{"unikernel:list", "volume:*"}, Account: "other"})
	m.add("denied", tokenstore.Draft{Preset: "read"})
	m.add("revoked", tokenstore.Draft{})
	m.add("disabled", tokenstore.Draft{})
	m.add("expired", tokenstore.Draft{Expiry: in("2w")})
	m.add("never", tokenstore.Draft{Expiry: tokenstore.Expiry{NeverExpires: true}, NotBefore: opened.Add(week)})
	m.add("rotated", tokenstore.Draft{})
	m.add("daily", tokenstore.Draft{
		Quota:      &tokenstore.Quota{Requests: 100, Period: tokenstore.PeriodDay},
		RateLimit:  &tokenstore.RateLimit{Requests: 60, Window: time.Minute},
		Metadata:   map[string]string{"team": "green", "ticket": "OPS-7"},
		AllowedIPs: []string{"203.0.113.0/24", "2001:db8::/32"},
	})
	m.add("monthly", tokenstore.Draft{Quota: &tokenstore.Quota{Requests: 1000, Period: tokenstore.PeriodMonth}})
	m.add("midnight", tokenstore.Draft{})
	m.add("moved", tokenstore.Draft{})
	m.add("admin", tokenstore.Draft{Kind: tokenstore.KindAdmin})
	m.imported("imported", "0b3f7e52-4c1d-4a8e-9f60-2d5b8c7a1e94")
	m.imported("imported, rotated", "5d2c9a10-7b3e-4f46-8a1c-e0f9d8b7c6a5")
	m.imported("imported, ended", "91c4f0de-2a6b-4d85-b3f7-0c1e2d3a4b5c")
	deleted := m.add("deleted", tokenstore.Draft{})
	m.use("deleted", "unikernel:list", 2)
	check(m.store.Delete(deleted.id, tokenstore.AnyVersion, actor))
	delete(m.tokens, "deleted")
	m.order = m.order[:len(m.order)-1]
	m.deleted = append(m.deleted, deleted.id)
	for _, name := range []string{"plain", "scopes", "denied", "revoked", "disabled", "expired", "rotated", "monthly",
		"imported", "imported, ended"} {
		m.use(name, "unikernel:list", 4)
		m.use(name, "volume:list", 2)
	}
	m.deny("denied", "unikernel:create", "insufficient_scope", 3)
	check(m.store.Flush())
	m.pass(10 * day) // ten days before
	for _, name := range []string{"plain", "denied", "expired", "rotated", "monthly", "moved"} {
		m.use(name, "unikernel:list", 3)
		m.pass(time.Hour)
		m.use(name, "unikernel:create", 1)
	}
	m.deny("denied", "", "rate_limited", 2)
	check(m.store.Flush())
	m.pass(6 * day) // about four days before
	m.use("plain", "volume:list", 5)
	m.use("monthly", "volume:list", 5)
	_, err := m.store.Revoke(m.tokens["revoked"].id, tokenstore.AnyVersion, actor)
	check(err)
	m.pass(time.Second)
	m.deny("revoked", "unikernel:list", "token_revoked", 4)
	_, err = m.store.Disable(m.tokens["disabled"].id, tokenstore.AnyVersion, actor)
	check(err)
	m.pass(time.Second)
	m.deny("disabled", "unikernel:list", "token_disabled", 1)
	_, err = m.store.Revoke(m.tokens["imported, ended"].id, tokenstore.AnyVersion, actor)
	check(err)
	ended := m.tokens["imported, ended"]
	m.ended = append(m.ended, contentsEnded{Secret: ended.secret, At: m.now})
	check(m.store.Delete(ended.id, tokenstore.AnyVersion, actor))
	m.deleted = append(m.deleted, ended.id)
	delete(m.tokens, "imported, ended")
	m.order = m.order[:len(m.order)-1]
	name := "a new name"
	_, err = m.store.Edit(policy, m.tokens["scopes"].id, tokenstore.Edit{Name: &name}, actor)
	check(err)
	m.now = opened.Add(-day - 2*time.Hour)
	m.close()
	m.run(day + time.Hour)
	hours := tokenstore.DayOf(m.now) - 7
	_, err = m.backend.Prune(tokenstore.Retention{Hours: hours, Days: hours - 700})
	check(err)
	check(m.backend.SetToldTime(m.now))
	m.rotate("rotated", 3*day)
	m.rotate("imported, rotated", 2*time.Hour)
	m.ended = append(m.ended, contentsEnded{Secret: m.tokens["imported, rotated"].previous,
		At: m.now.Add(-time.Second).Truncate(time.Second).Add(2 * time.Hour)})
	m.use("rotated", "unikernel:list", 1)
	m.usePrevious("rotated", "unikernel:list", 2)
	m.usePrevious("imported, rotated", "volume:list", 1)
	m.now = opened.Truncate(day).Add(-10 * time.Second)
	m.use("midnight", "volume:list", 3)
	m.close()
}

// today makes what was saved on the day of opened.
func (m *maker) today() {
	m.run(2 * time.Hour)
	m.use("plain", "unikernel:list", 3)
	m.use("scopes", "unikernel:list", 2)
	m.use("denied", "unikernel:list", 1)
	m.deny("denied", "unikernel:create", "insufficient_scope", 2)
	m.use("moved", "unikernel:list", 2)
	m.use("daily", "unikernel:list", 10)
	m.deny("daily", "unikernel:list", "ip_not_allowed", 1)
	m.use("monthly", "volume:list", 2)
	m.use("imported", "unikernel:list", 1)
	check(m.store.Flush())
}

// unsaved makes what is in the counters file only.
func (m *maker) unsaved() {
	m.add("unsaved", tokenstore.Draft{})
	m.add("only denied", tokenstore.Draft{Preset: "read"})
	m.use("plain", "unikernel:list", 7) // as before
	m.use("scopes", "unikernel:list", 1)
	m.deny("denied", "unikernel:create", "insufficient_scope", 5)
	m.use("denied", "unikernel:list", 2)
	m.use("daily", "unikernel:list", 30)
	m.deny("daily", "unikernel:list", "rate_limited", 3)
	m.use("monthly", "volume:list", 4)
	m.use("unsaved", "volume:list", 6)
	m.deny("only denied", "unikernel:create", "insufficient_scope", 8)
	m.use("midnight", "volume:list", 2)
	m.pass(time.Hour) // the next hour
	m.use("moved", "unikernel:create", 3)
	m.usePrevious("rotated", "unikernel:list", 2)
	m.use("imported", "unikernel:list", 2)
}

func main() {
	log.SetFlags(0)

	m := newMaker(1)
	m.fill()
	m.today()
	m.pass(time.Second)
	m.unsaved()
	m.write("killed") // while it is open

	m = newMaker(2)
	m.fill()
	m.today()
	m.unsaved()
	m.close()
	m.write("closed")

	m = newMaker(3)
	m.fill()
	m.run(4 * time.Hour)
	m.add("left only", tokenstore.Draft{})
	m.add("since only", tokenstore.Draft{})
	m.use("plain", "unikernel:list", 2)
	m.use("daily", "unikernel:list", 5)
	m.use("denied", "unikernel:list", 1)
	check(m.store.Flush())
	m.use("plain", "unikernel:list", 7)
	m.use("daily", "unikernel:list", 20)
	m.use("left only", "volume:list", 4)
	m.use("monthly", "volume:list", 6)
	m.deny("denied", "unikernel:create", "insufficient_scope", 4)
	left, err := os.ReadFile(m.path + ".counters")
	check(err)
	saved, err := os.ReadFile(m.path)
	check(err)
	m.close() // what is saved by that is thrown away
	check(os.WriteFile(m.path, saved, 0o600))
	check(os.RemoveAll(m.path + ".counters"))
	check(os.Mkdir(m.path+".counters", 0o700)) // which can't be read
	m.run(time.Hour)
	if err := m.backend.TendCounters(); !errors.Is(err, tokenstore.ErrCountsUnread) {
		log.Fatalf("the counters can be read: %v", err)
	}
	m.use("plain", "unikernel:list", 3)
	m.use("daily", "unikernel:list", 2)
	m.use("since only", "volume:list", 5)
	m.deny("denied", "unikernel:create", "insufficient_scope", 2)
	m.use("denied", "unikernel:list", 1)
	m.close()
	check(os.Remove(m.path + ".counters"))
	check(os.WriteFile(m.path+".counters", left, 0o600))
	m.write("unread")
}

// write packs the store as it is on disk, and notes what the release that made it
// answers when it opens a copy.
func (m *maker) write(name string) {
	check(os.MkdirAll("out", 0o700))
	dir, err := os.MkdirTemp("", "release-")
	check(err)
	copied := filepath.Join(dir, "tokens.db")
	for _, suffix := range []string{"", ".counters"} {
		content, err := os.ReadFile(m.path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		check(err)
		check(os.WriteFile(copied+suffix, content, 0o600))
		packed, err := os.Create(filepath.Join("out", name+".db"+suffix+".gz"))
		check(err)
		to, err := gzip.NewWriterLevel(packed, gzip.BestCompression)
		check(err)
		_, err = to.Write(content)
		check(errors.Join(err, to.Close(), packed.Close()))
	}
	report, err := bolt.Check(copied)
	if check(err); len(report.Problems) > 0 {
		log.Fatalf("%s: %v", name, report.Problems)
	}
	secrets := make(map[string]*made)
	for _, token := range m.tokens {
		secrets[token.id.String()] = token
	}
	backend, err := bolt.Open(copied)
	check(err)
	store, err := tokenstore.Open(backend,
		tokenstore.Options{Clock: tokenstore.ClockFunc(func() time.Time { return opened }), FlushInterval: -1})
	check(err)
	found := describe(store, backend)
	check(store.Close())
	for i := range found.Tokens {
		token := &found.Tokens[i]
		made := secrets[token.ID]
		token.Secret, token.PreviousSecret = made.secret, made.previous
		if token.Allowed != made.allowed || token.Denied != made.denied || token.Last == nil && made.allowed > 0 ||
			token.Last != nil && !token.Last.Time.Equal(made.last) {
			log.Fatalf("%s, %s: found %+v, made %+v", name, token.Name, token, made)
		}
	}
	if len(found.Tokens) != len(m.tokens) {
		log.Fatalf("%s: %d tokens, made %d", name, len(found.Tokens), len(m.tokens))
	}
	for _, id := range m.deleted {
		found.Deleted = append(found.Deleted, id.String())
	}
	found.Ended, found.Requests = m.ended, m.requests
	text, err := json.MarshalIndent(found, "", "\t")
	check(err)
	check(os.WriteFile(filepath.Join("out", name+".json"), append(text, '\n'), 0o600))
	fmt.Printf("%s: %d tokens, audit of %d\n", name, len(found.Tokens), len(found.Audit))
}

func check(err error) {
	if err != nil {
		log.Output(2, err.Error())
		panic(err)
	}
}

// What follows is also in release_test.go.

type contents struct {
	Recorded, Passed, Told time.Time
	Tokens                 []contentsToken
	Audit                  []string
	// Ended are imported secrets that were taken out of service.
	Ended []contentsEnded
	// Deleted are the ids of tokens that were.
	Deleted []string
	// Requests are the ids of the tokens made by requests that are kept, by name. The
	// request's key is "create " and the name, its body the name.
	Requests map[string]string
}

type contentsEnded struct {
	Secret string
	At     time.Time
}

type contentsToken struct {
	ID, Kind, Name, Status, Account, Scopes, AllowedIPs, RateLimit, Quota, CreatedBy string
	Secret,
	PreviousSecret string `json:",omitempty"`
	Metadata map[string]string `json:",omitempty"`
	Times    map[string]time.Time
	Version  uint64

	Allowed, Denied uint64
	// Last and Previous are nil for never.
	Last, Previous *tokenstore.LastUse `json:",omitempty"`
	// QuotaRemaining is nil if there is no quota.
	QuotaRemaining *int64 `json:",omitempty"`
	// Days and Hours are "time scope outcome count".
	Days, Hours []string `json:",omitempty"`
	// AllowedInDays and DeniedInDays are their sums.
	AllowedInDays, DeniedInDays uint64
}

// describe returns what a store answers about everything in it.
func describe(s *tokenstore.Store, b *bolt.Backend) (found contents) {
	var err error
	found.Recorded, err = b.RecordedTime()
	check(err)
	found.Passed, err = b.PassedTime()
	check(err)
	found.Told, err = b.ToldTime()
	check(err)
	tokens, _, err := s.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 1000})
	check(err)
	for _, t := range tokens {
		found.Tokens = append(found.Tokens, describeToken(s, t))
	}
	entries, _, err := s.Audit(tokenstore.AuditPage{Limit: 10000})
	check(err)
	for _, e := range entries {
		text, err := json.Marshal(e.Changes)
		check(err)
		found.Audit = append(found.Audit, fmt.Sprintf("%s %s by %s from %s: %s %q %s", e.Time.Format(time.RFC3339Nano),
			e.Action, e.Actor, e.Address, e.TokenID, e.TokenName, text))
	}
	return found
}

func describeToken(s *tokenstore.Store, t tokenstore.TokenUsage) contentsToken {
	c := contentsToken{
		ID: t.Token.ID.String(), Kind: t.Token.Kind.String(), Name: t.Token.Name,
		Status:  t.Token.Status(s.Now()).String(),
		Account: t.Token.Account, Scopes: strings.Join(t.Token.Scopes, " "), AllowedIPs: fmt.Sprint(t.Token.AllowedIPs),
		RateLimit: t.Token.RateLimit.String(), Quota: t.Token.Quota.String(), CreatedBy: t.Token.CreatedBy,
		Metadata: t.Token.Metadata, Times: make(map[string]time.Time), Version: t.Token.Version,
		Allowed: t.Usage.Allowed, Denied: t.Usage.Denied,
	}
	for name, at := range map[string]time.Time{
		"created": t.Token.CreatedAt, "updated": t.Token.UpdatedAt, "secret made": t.Token.SecretMadeAt,
		"expires":    t.Token.ExpiresAt,
		"not before": t.Token.NotBefore, "revoked": t.Token.RevokedAt, "disabled": t.Token.DisabledAt,
		"previous valid until": t.Token.PreviousValidUntil,
	} {
		if !at.IsZero() {
			c.Times[name] = at
		}
	}
	if !t.Usage.Last.Time.IsZero() {
		c.Last = &t.Usage.Last
	}
	_, previous, err := s.PreviousUse(t.Token.ID)
	check(err)
	if !previous.Time.IsZero() {
		c.Previous = &previous
	}
	if t.Token.Quota != (tokenstore.Quota{}) {
		standing, err := s.QuotaStanding(t.Token.Principal(), s.Now())
		check(err)
		c.QuotaRemaining = &standing.Remaining
	}
	for _, series := range []struct {
		step   tokenstore.Step
		points *[]string
	}{{tokenstore.StepDay, &c.Days}, {tokenstore.StepHour, &c.Hours}} {
		points, err := s.Series(t.Token.ID, series.step, s.Now().AddDate(-1, 0, 0), s.Now().AddDate(0, 0, 1))
		check(err)
		for _, p := range points {
			*series.points = append(*series.points, fmt.Sprintf("%s %q %s %d", p.Time.Format(time.RFC3339), p.Scope,
				p.Outcome, p.Count))
			switch {
			case series.step != tokenstore.StepDay:
			case p.Outcome == tokenstore.OutcomeOK:
				c.AllowedInDays += p.Count
			default:
				c.DeniedInDays += p.Count
			}
		}
	}
	return c
}
