//go:build linux || darwin

package bolt

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// releaseSuffix is appended to the store's name to form the name of the counters file used by
// earlier releases.
const releaseSuffix = ".counters"

// released unpacks a store from testdata/release and returns it with its expected contents.
func released(t *testing.T, name string) (path string, want contents) {
	t.Helper()
	dir := filepath.Join("testdata", "release")
	path = newPath(t)
	for _, suffix := range []string{"", releaseSuffix} {
		packed, err := os.Open(filepath.Join(dir, name+".db"+suffix+".gz"))
		if errors.Is(err, fs.ErrNotExist) && suffix != "" {
			continue
		}
		check(t, err)
		from, err := gzip.NewReader(packed)
		check(t, err)
		content, err := io.ReadAll(from)
		check(t, errors.Join(err, packed.Close()))
		check(t, os.WriteFile(path+suffix, content, fileMode))
	}
	text, err := os.ReadFile(filepath.Join(dir, name+".json"))
	check(t, err)
	check(t, json.Unmarshal(text, &want))
	return path, want
}

// TestRelease verifies that opening an earlier release's store preserves all its contents,
// including counts that a killed process had not saved, and that reopening it counts nothing
// twice.
func TestRelease(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"killed", "unread", "closed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, want := released(t, name)
			for _, when := range []string{"opened", "opened after a kill", "opened after a close"} {
				next := path
				switch when {
				case "opened after a kill":
					next = copied(t, path)
				case "opened after a close":
					want.Passed = testTime // less than a day later, so Close has stored it
				}
				b := mustOpen(t, next)
				s := openStore(t, b)
				got := describe(t, s, b)
				if when == "opened" {
					checkSecrets(t, s, &want)
					path = copied(t, path)
				}
				compareContents(t, when, &got, &want)
				check(t, s.Close())
				if when != "opened" {
					path = next
				}
				if report, err := Check(next); err != nil || len(report.Problems) > 0 {
					t.Errorf("%s: got problems %v, err %v, want none", when, report.Problems, err)
				}
			}
			if _, err := os.Stat(path + releaseSuffix); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("counters file after Open: got err %v, want fs.ErrNotExist", err)
			}
		})
	}
}

func compareContents(t *testing.T, when string, got, want *contents) {
	t.Helper()
	if !got.Recorded.Equal(want.Recorded) || !got.Passed.Equal(want.Passed) || !got.Told.Equal(want.Told) {
		t.Errorf("%s: got recorded %s, passed %s, told %s; want %s, %s, %s", when, got.Recorded, got.Passed, got.Told,
			want.Recorded, want.Passed, want.Told)
	}
	if !slices.Equal(got.Audit, want.Audit) {
		t.Errorf("%s: got audit log\n%s\nwant\n%s", when, strings.Join(got.Audit, "\n"),
			strings.Join(want.Audit, "\n"))
	}
	if len(got.Tokens) != len(want.Tokens) {
		t.Fatalf("%s: got %d tokens, want %d", when, len(got.Tokens), len(want.Tokens))
	}
	for i := range want.Tokens {
		got, want := got.Tokens[i], want.Tokens[i]
		// The denied requests in the counters file can appear on any day, but only once.
		if got.AllowedInDays != got.Allowed || got.DeniedInDays > got.Denied || got.DeniedInDays < want.DeniedInDays {
			t.Errorf("%s: %s: %d allowed and %d denied in the history, %d and %d in the totals", when, want.Name,
				got.AllowedInDays, got.DeniedInDays, got.Allowed, got.Denied)
		}
		if got.DeniedInDays != want.DeniedInDays {
			got.Days, want.Days = allowedPoints(got.Days), allowedPoints(want.Days)
			got.Hours, want.Hours = allowedPoints(got.Hours), allowedPoints(want.Hours)
		}
		got.DeniedInDays, want.DeniedInDays = 0, 0
		want.Secret, want.PreviousSecret = "", ""
		gotText, err := json.MarshalIndent(got, "", "\t")
		check(t, err)
		wantText, err := json.MarshalIndent(want, "", "\t")
		check(t, err)
		if string(gotText) != string(wantText) {
			t.Errorf("%s: %s: got\n%s\nwant\n%s", when, want.Name, gotText, wantText)
		}
	}
}

func allowedPoints(points []string) (allowed []string) {
	for _, point := range points {
		if strings.Contains(point, `" ok `) {
			allowed = append(allowed, point)
		}
	}
	return allowed
}

// checkSecrets verifies that each secret is accepted or refused as expected.
func checkSecrets(t *testing.T, s *tokenstore.Store, want *contents) {
	t.Helper()
	find := func(secret string) (tokenstore.Match, error) {
		t.Helper()
		credential, err := testPolicy.Prefixes.Parse(secret)
		check(t, err)
		return s.Authenticate(credential, testTime)
	}
	for _, tok := range want.Tokens {
		match, err := find(tok.Secret)
		if err != nil || match.Token.ID.String() != tok.ID || match.Status.String() != tok.Status {
			t.Errorf("%s: got token %s, status %s, err %v; want %s, %s", tok.Name,
				match.Token.ID, match.Status, err, tok.ID, tok.Status)
		}
		if tok.PreviousSecret == "" {
			continue
		}
		status := token.StatusActive
		if !testTime.Before(tok.Times["previous valid until"]) {
			status = token.StatusRevoked
		}
		if match, err := find(tok.PreviousSecret); err != nil || match.Token.ID.String() != tok.ID || !match.Previous ||
			match.Status != status {
			t.Errorf("%s: previous secret: got status %s, err %v; want %s", tok.Name, match.Status, err, status)
		}
	}
	for _, text := range want.Deleted {
		var id token.ID
		copy(id[:], text)
		if _, err := s.Get(id); !errors.Is(err, tokenstore.ErrNotFound) {
			t.Errorf("deleted token %s: got err %v, want ErrNotFound", text, err)
		}
	}
	week, err := token.ParseLifetime("1w")
	check(t, err)
	draft := token.Draft{Kind: token.KindAPI, Name: "again", Preset: "full", Expiry: token.Expiry{ExpiresIn: week}}
	for _, secret := range want.Ended {
		_, _, err := s.Import(testPolicy, draft, secret.Secret, testActor)
		if ended, ok := errors.AsType[*tokenstore.EndedError](err); !ok || !ended.At.Equal(secret.At) {
			t.Errorf("importing a secret that ended at %s: got err %v, want an EndedError", secret.At, err)
		}
	}
	for name, id := range want.Requests {
		token, _, repeated, err := s.CreateOnce(testPolicy, draft, testActor,
			tokenstore.Request{Key: "create " + name, Body: []byte(name)})
		if err != nil || !repeated || token.ID.String() != id {
			t.Errorf("repeating the request that created %s: got %v, repeated %t, want %s; err %v", name,
				token, repeated, id, err)
		}
	}
}

// contents describes a store in the same format as testdata/release/make.go.
type contents struct {
	Recorded, Passed, Told time.Time
	Tokens                 []contentsToken
	Audit                  []string
	// Ended lists the imported secrets that were taken out of service.
	Ended []contentsEnded
	// Deleted lists the IDs of deleted tokens.
	Deleted []string
	// Requests maps names to the IDs of tokens created by requests with an idempotency key.
	// The key is "create " followed by the name, and the body is the name.
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
	// Last is nil if the token was never used, and Previous is nil if its previous secret was
	// never used.
	Last, Previous *tokenstore.LastUse `json:",omitempty"`
	// QuotaRemaining is nil if there is no quota.
	QuotaRemaining *int64 `json:",omitempty"`
	// Days and Hours have the format "time scope outcome count".
	Days, Hours []string `json:",omitempty"`
	// AllowedInDays and DeniedInDays are the totals of Days.
	AllowedInDays, DeniedInDays uint64
}

// describe returns a store's contents.
func describe(t *testing.T, s *tokenstore.Store, b *Backend) (found contents) {
	state, err := b.State()
	check(t, err)
	found.Recorded, found.Passed, found.Told = state.Recorded, state.Elapsed, state.Announced
	tokens, _, err := s.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 1000})
	check(t, err)
	for _, token := range tokens {
		found.Tokens = append(found.Tokens, describeToken(t, s, token))
	}
	entries, _, err := s.Audit(tokenstore.AuditPage{Limit: 10000})
	check(t, err)
	for _, e := range entries {
		text, err := json.Marshal(e.Changes)
		check(t, err)
		found.Audit = append(found.Audit, fmt.Sprintf("%s %s by %s from %s: %s %q %s", e.Time.Format(time.RFC3339Nano),
			e.Action, e.Actor, e.Address, e.TokenID, e.TokenName, text))
	}
	return found
}

func describeToken(t *testing.T, s *tokenstore.Store, tok tokenstore.TokenUsage) contentsToken {
	c := contentsToken{
		ID: tok.Token.ID.String(), Kind: tok.Token.Kind.String(), Name: tok.Token.Name,
		Status:  tok.Token.Status(s.Now()).String(),
		Account: tok.Token.Account, Scopes: strings.Join(tok.Token.Scopes, " "),
		AllowedIPs: fmt.Sprint(tok.Token.AllowedIPs),
		RateLimit:  tok.Token.RateLimit.String(), Quota: tok.Token.Quota.String(), CreatedBy: tok.Token.CreatedBy,
		Metadata: tok.Token.Metadata, Times: make(map[string]time.Time), Version: tok.Token.Version,
		Allowed: tok.Usage.Allowed, Denied: tok.Usage.Denied,
	}
	for name, at := range map[string]time.Time{
		"created": tok.Token.CreatedAt, "updated": tok.Token.UpdatedAt, "secret made": tok.Token.SecretMadeAt,
		"expires":    tok.Token.ExpiresAt,
		"not before": tok.Token.NotBefore, "revoked": tok.Token.RevokedAt, "disabled": tok.Token.DisabledAt,
		"previous valid until": tok.Token.PreviousValidUntil,
	} {
		if !at.IsZero() {
			c.Times[name] = at
		}
	}
	if !tok.Usage.Last.Time.IsZero() {
		c.Last = &tok.Usage.Last
	}
	_, previous, err := s.PreviousUse(tok.Token.ID)
	check(t, err)
	if !previous.Time.IsZero() {
		c.Previous = &previous
	}
	if tok.Token.Quota != (token.Quota{}) {
		standing, err := s.QuotaStanding(tokenstore.PrincipalOf(tok.Token), s.Now())
		check(t, err)
		c.QuotaRemaining = &standing.Remaining
	}
	for _, series := range []struct {
		step   tokenstore.Step
		points *[]string
	}{{tokenstore.StepDay, &c.Days}, {tokenstore.StepHour, &c.Hours}} {
		points, err := s.Series(tok.Token.ID, series.step, s.Now().AddDate(-1, 0, 0), s.Now().AddDate(0, 0, 1))
		check(t, err)
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

// TestUnreadableCounters verifies that Inspect and Open report an unreadable counters file
// with an error that says what to do, and don't remove the file.
func TestUnreadableCounters(t *testing.T) {
	t.Parallel()
	path, _ := released(t, "killed")
	check(t, os.WriteFile(path+releaseSuffix, []byte("x"), fileMode))
	_, err := Open(path)
	for what, err := range map[string]error{"Inspect": Inspect(path), "Open": err} {
		if err == nil || !strings.Contains(err.Error(), "move the file away") {
			t.Errorf("%s: got err %v, want an error that says what to do", what, err)
		}
	}
	if _, err := os.Stat(path + releaseSuffix); err != nil {
		t.Error(err)
	}
}
