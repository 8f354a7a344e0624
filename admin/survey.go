package admin

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// survey is what a look at all tokens has found. Its counts and lists include only API tokens.
type survey struct {
	Time timeOrNull `json:"time"`
	// Status maps each status to its number of tokens.
	Status tokenStats `json:"status"`
	// Admin is the number of admin tokens.
	Admin int `json:"admin"`
	// Expiring is the number of active tokens that expire within a week and have at most a
	// quarter of their lifetime left.
	Expiring  int         `json:"expiring"`
	Accounts  []nameCount `json:"accounts"`
	Owners    []nameCount `json:"owners"`
	Tags      []nameCount `json:"tags"`
	Busiest   []busyToken `json:"busiest"`
	Attention []attention `json:"attention"`
}

type nameCount struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// busyToken is a token with its requests in the last week.
type busyToken struct {
	Token   object `json:"token"`
	Allowed uint64 `json:"allowed"`
	Refused uint64 `json:"refused"`
}

// attention lists tokens that an admin should look at.
type attention struct {
	Reason string `json:"reason"`
	// Count is the number of tokens, of which Items holds at most maxItems.
	Count int             `json:"count"`
	Items []attentionItem `json:"items"`
}

type attentionItem struct {
	Token object `json:"token"`
	// Scopes lists granted scopes that weren't used in the last 90 days, and UsedScopes the
	// scopes that were.
	Scopes     []string `json:"scopes"`
	UsedScopes []string `json:"used_scopes"`
	// Resources lists the token's resources that weren't used in the last 90 days, and
	// UsedResources those that were.
	Resources     []string `json:"resources"`
	UsedResources []string `json:"used_resources"`
	LastUse       *lastUse `json:"last_use"`
	// Refused is the number of requests since the revocation, at most the number of refusals
	// that the store keeps.
	Refused *int `json:"refused"`
}

type lastUse struct {
	Time      timeOrNull `json:"time"`
	IP        textOrNull `json:"ip"`
	UserAgent textOrNull `json:"user_agent"`
	Route     textOrNull `json:"route"`
}

// The reasons why a token needs attention, most urgent first.
const (
	reasonUsedAfterRevocation = "used_after_revocation"
	reasonExpiring            = "expiring"
	reasonOldSecret           = "old_secret_in_use"
	reasonWideGrant           = "wide_grant"
	reasonUnusedScopes        = "unused_scopes"
	reasonUnusedResources     = "unused_resources"
	reasonUnused              = "unused"
)

const (
	// maxItems is the maximum number of tokens per list, and maxNames that of names.
	maxItems = 5
	maxNames = 50
	// maxHistories is the maximum number of tokens whose history a survey reads for each
	// question, which takes about 0.1 ms each.
	maxHistories = 20_000
	// maxBusy is the number of tokens with the most requests in total among which the survey
	// looks for the busiest ones.
	maxBusy = 200
	// minAge is how old a token must be before its scopes can count as unused, and how long it
	// must be unchanged before its resources can.
	minAge = 14 * day
	// maxNarrow is the maximum number of scopes for which a wildcard grant is too wide.
	maxNarrow = 3
)

// surveyor makes one survey.
type surveyor struct {
	api   *api
	store *tokenstore.Store
	now   time.Time

	statuses               [token.StatusDamaged + 1]int
	admin, expiring        int
	accounts, owners, tags map[string]int
	lists                  map[string]*ranking[attentionItem]
	busy                   ranking[tokenstore.TokenUsage]
	// revoked and scoped are the tokens whose history must be read.
	revoked, scoped []token.ID
}

func newSurveyor(a *api, store *tokenstore.Store) *surveyor {
	s := &surveyor{
		api: a, store: store, now: store.Now(),
		accounts: make(map[string]int), owners: make(map[string]int), tags: make(map[string]int),
		lists: make(map[string]*ranking[attentionItem]), busy: ranking[tokenstore.TokenUsage]{limit: maxBusy},
	}
	for _, reason := range reasons {
		s.lists[reason] = &ranking[attentionItem]{limit: maxItems}
	}
	return s
}

var reasons = []string{reasonUsedAfterRevocation, reasonExpiring, reasonOldSecret, reasonWideGrant,
	reasonUnusedScopes, reasonUnusedResources, reasonUnused}

// survey looks at every token, and then at the history of those for which it matters.
func (s *surveyor) survey(ctx context.Context) (*survey, error) {
	err := s.store.Scan(ctx, func(t tokenstore.TokenUsage) bool {
		s.visit(t)
		return true
	})
	if err == nil {
		err = s.readRefusals()
	}
	if err == nil {
		err = s.readScopes()
	}
	if err != nil {
		return nil, err
	}
	busiest, err := s.busiest()
	if err != nil {
		return nil, err
	}
	found := &survey{
		Time: timeOrNull(s.now), Status: newTokenStats(func(status token.Status) int { return s.statuses[status] }),
		Admin: s.admin, Expiring: s.expiring,
		Accounts: mostCommon(s.accounts), Owners: mostCommon(s.owners), Tags: mostCommon(s.tags),
		Busiest: busiest, Attention: []attention{},
	}
	for _, reason := range reasons {
		if list := s.lists[reason]; list.count > 0 {
			found.Attention = append(found.Attention, attention{reason, list.count, list.items()})
		}
	}
	return found, nil
}

// visit looks at one token. t is valid only during the call.
func (s *surveyor) visit(t tokenstore.TokenUsage) {
	if t.Token.Kind == token.KindAdmin {
		s.admin++
		return
	}
	status := t.Token.Status(s.now)
	s.statuses[status]++
	s.countNames(t.Token)
	s.busy.add(float64(t.Usage.Allowed+t.Usage.Denied), t.Clone)
	switch status {
	case token.StatusRevoked:
		if t.Usage.Denied > 0 && len(s.revoked) < maxHistories {
			s.revoked = append(s.revoked, t.Token.ID)
		}
	case token.StatusActive:
		s.visitActive(t)
	}
}

func (s *surveyor) visitActive(t tokenstore.TokenUsage) {
	item := func(use tokenstore.LastUse) func() attentionItem {
		return func() attentionItem {
			copied := t.Clone()
			return attentionItem{Token: s.api.object(copied.Token, copied.Usage, s.now), LastUse: newLastUse(use)}
		}
	}
	if end := t.Token.ExpiresAt; token.NearExpiry(t.Token.ValidFrom(), end, s.now, s.now.Add(week)) {
		s.expiring++
		s.lists[reasonExpiring].add(-float64(end.Unix()), item(t.Usage.Last))
	}
	used := t.Usage.Previous.Time
	if t.Token.PreviousValidUntil.After(s.now) && !used.IsZero() && !used.Before(t.Token.SecretMadeAt) {
		s.lists[reasonOldSecret].add(float64(used.Unix()), item(t.Usage.Previous))
	}
	if seen := lastSeen(t); s.now.Sub(seen) >= idleAfter {
		s.lists[reasonUnused].add(-float64(seen.Unix()), item(t.Usage.Last))
		return
	}
	s.visitResources(t)
	if s.now.Sub(t.Token.CreatedAt) >= minAge && !t.Usage.Last.Time.IsZero() && len(s.scoped) < maxHistories &&
		(len(t.Token.Scopes) > 1 || hasWildcard(t.Token.Scopes)) {
		s.scoped = append(s.scoped, t.Token.ID)
	}
}

// visitResources finds tokens with resources that they don't use.
func (s *surveyor) visitResources(t tokenstore.TokenUsage) {
	if len(t.Token.Resources) < 2 || s.now.Sub(t.Token.UpdatedAt) < minAge {
		return
	}
	first := tokenstore.DayOf(s.now.Add(-idleAfter))
	used := func(pattern string) bool {
		return slices.ContainsFunc(t.Usage.Resources, func(use tokenstore.ResourceUse) bool {
			return use.Pattern == pattern && use.Day >= first
		})
	}
	unused := slices.DeleteFunc(slices.Clone(t.Token.Resources), used)
	if n := len(unused); n > 0 && n < len(t.Token.Resources) {
		s.lists[reasonUnusedResources].add(float64(n), func() attentionItem {
			copied := t.Clone()
			item := attentionItem{Token: s.api.object(copied.Token, copied.Usage, s.now),
				LastUse: newLastUse(copied.Usage.Last)}
			for _, pattern := range copied.Token.Resources {
				if slices.Contains(unused, pattern) {
					item.Resources = append(item.Resources, pattern)
				} else {
					item.UsedResources = append(item.UsedResources, pattern)
				}
			}
			return item
		})
	}
}

func (s *surveyor) countNames(t *token.Token) {
	if t.Damaged {
		return
	}
	s.accounts[t.Account]++
	if owner := t.Metadata[ownerKey]; owner != "" {
		s.owners[owner]++
	}
	for _, tag := range tagsOf(t) {
		s.tags[tag]++
	}
}

// readRefusals finds revoked tokens that were presented after their revocation.
func (s *surveyor) readRefusals() error {
	for _, id := range s.revoked {
		t, err := s.store.Get(id)
		if err != nil {
			if gone(err) {
				continue
			}
			return err
		}
		refusals, err := s.store.Refusals(id)
		if err != nil && !gone(err) {
			return err
		}
		n := 0
		for _, r := range refusals {
			if !r.Time.Before(t.Token.RevokedAt) {
				n++
			}
		}
		if n == 0 {
			continue
		}
		last := refusals[0] // the newest
		s.lists[reasonUsedAfterRevocation].add(float64(last.Time.Unix()), func() attentionItem {
			return attentionItem{Token: s.api.object(t.Token, t.Usage, s.now), Refused: &n,
				LastUse: &lastUse{timeOrNull(last.Time), textOrNull(last.IP), textOrNull(last.UserAgent),
					textOrNull(strings.TrimSpace(last.Method + " " + last.Path))}}
		})
	}
	return nil
}

// readScopes finds tokens with scopes that they don't use.
func (s *surveyor) readScopes() error {
	for _, id := range s.scoped {
		t, err := s.store.Get(id)
		if err != nil {
			if gone(err) {
				continue
			}
			return err
		}
		points, err := s.store.Series(id, tokenstore.StepDay, s.now.Add(-idleAfter), s.now.Add(time.Second))
		if err != nil && !gone(err) {
			return err
		}
		used := make(map[string]bool)
		for _, p := range points {
			if p.Outcome == tokenstore.OutcomeOK && p.Scope != "" {
				used[p.Scope] = true
			}
		}
		if len(used) == 0 {
			continue
		}
		item := func(unused []string) func() attentionItem {
			return func() attentionItem {
				return attentionItem{Token: s.api.object(t.Token, t.Usage, s.now), Scopes: unused,
					UsedScopes: slices.Sorted(maps.Keys(used)), LastUse: newLastUse(t.Usage.Last)}
			}
		}
		if hasWildcard(t.Token.Scopes) {
			if len(used) <= maxNarrow {
				s.lists[reasonWideGrant].add(float64(t.Usage.Allowed), item(nil))
			}
			continue
		}
		unused := slices.DeleteFunc(slices.Clone(t.Token.Scopes), func(scope string) bool { return used[scope] })
		if len(unused) > 0 {
			s.lists[reasonUnusedScopes].add(float64(len(unused)), item(unused))
		}
	}
	return nil
}

// busiest returns the tokens with the most requests in the last week.
func (s *surveyor) busiest() ([]busyToken, error) {
	top := ranking[busyToken]{limit: maxItems}
	for _, t := range s.busy.items() {
		points, err := s.store.Series(t.Token.ID, tokenstore.StepDay, s.now.Add(-week), s.now.Add(time.Second))
		if err != nil {
			if gone(err) {
				continue
			}
			return nil, err
		}
		busy := busyToken{}
		for _, count := range countRequests(points) {
			busy.Allowed += count.Allowed
			busy.Refused += count.Refused
		}
		if n := busy.Allowed + busy.Refused; n > 0 {
			top.add(float64(n), func() busyToken {
				busy.Token = s.api.object(t.Token, t.Usage, s.now)
				return busy
			})
		}
	}
	return top.items(), nil
}

// gone reports whether a token was deleted or damaged during the survey.
func gone(err error) bool {
	return errors.Is(err, tokenstore.ErrNotFound) || errors.Is(err, token.ErrDamaged)
}

func newLastUse(use tokenstore.LastUse) *lastUse {
	if use.Time.IsZero() {
		return nil
	}
	return &lastUse{timeOrNull(use.Time), textOrNull(use.IP), textOrNull(use.UserAgent), textOrNull(use.Route)}
}

func hasWildcard(grants token.Grants) bool {
	return slices.ContainsFunc(grants, func(grant string) bool { return strings.HasSuffix(grant, "*") })
}

// mostCommon returns the most common names, most common first.
func mostCommon(counts map[string]int) []nameCount {
	names := []nameCount{}
	for name, n := range counts {
		names = append(names, nameCount{name, n})
	}
	slices.SortFunc(names, func(a, b nameCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return names[:min(len(names), maxNames)]
}
