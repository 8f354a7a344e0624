package admin

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

const (
	defaultLimit = 50
	maxLimit     = 200
	// maxQuery is the maximum length of q, in bytes. All names are shorter.
	maxQuery = 400
)

var listParameters = []string{"limit", "cursor", "sort", "q", "kind", "status", "account", "owner", "tag", "scope",
	"never_used", "unused_since", "expires_before", "count"}

// listQuery holds the parameters of GET /tokens.
type listQuery struct {
	limit  int
	sort   sorting
	after  *position // nil starts at the first token
	filter filter
	count  bool
}

type page struct {
	Data       []object   `json:"data"`
	NextCursor textOrNull `json:"next_cursor"`
	Total      *int       `json:"total,omitzero"`
}

func (c *call) listTokens() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	now := store.Now()
	query, refusal := c.parseList(now)
	if refusal != nil {
		return refusal
	}
	tokens, next, err := query.page(c.r.Context(), store)
	if err != nil {
		return c.storeRefusal(err)
	}
	response := page{Data: make([]object, 0, len(tokens))}
	for _, t := range tokens {
		response.Data = append(response.Data, c.object(t.Token, t.Usage, now))
	}
	if next != nil {
		response.NextCursor = textOrNull(next.cursor(query.sort))
	}
	if query.count {
		total, err := query.total(c.r.Context(), store)
		if err != nil {
			return c.storeRefusal(err)
		}
		response.Total = &total
	}
	return c.respond(http.StatusOK, response)
}

// parseList parses the parameters. Only q may be empty, because it comes from a search
// box.
func (c *call) parseList(now time.Time) (listQuery, *Refusal) {
	query := listQuery{limit: defaultLimit, sort: sorting{key: sortCreatedAt, descending: true}}
	query.filter.now, query.filter.warnBefore = now, c.WarnBefore
	for _, name := range listParameters {
		value, given := c.parameters[name]
		if !given {
			continue
		}
		if rule := c.parseListParameter(&query, name, value); rule != "" {
			return query, refuseParameter(name, rule)
		}
	}
	// The cursor is parsed last, because it must match the query's sort order.
	if cursor, given := c.parameters["cursor"]; given {
		after, ok := parseCursor(cursor, query.sort)
		if !ok {
			return query, refuseParameter("cursor",
				"isn't a next_cursor from a list in this order; leave it out to start over")
		}
		query.after = after
	}
	return query, nil
}

// parseListParameter parses a parameter and adds it to the query. If the value is invalid,
// it returns the rule that the value violates.
func (c *call) parseListParameter(query *listQuery, name, value string) (rule string) {
	switch name {
	case "limit":
		query.limit, rule = parseLimit(value)
	case "sort":
		var ok bool
		if query.sort, ok = parseSorting(value); !ok {
			return "must be one of " + strings.Join(sortNames(), ", ") + ", prefixed with - for descending"
		}
	case "q":
		if len(value) > maxQuery {
			return "is longer than any name"
		}
		query.filter.text = strings.ToLower(value)
		query.filter.id = c.idPrefix(value)
	case "kind":
		if value != token.KindAPI.String() && value != token.KindAdmin.String() {
			return "must be " + token.KindAPI.String() + " or " + token.KindAdmin.String()
		}
		query.filter.kind = value
	case "status":
		if !slices.Contains(statusNames(), value) {
			return "must be one of " + strings.Join(statusNames(), ", ")
		}
		query.filter.status = value
	case "account":
		if value == "" {
			return ruleEmpty
		}
		query.filter.account = value
	case "owner":
		if value == "" {
			return ruleEmpty
		}
		query.filter.owner = value
	case "tag":
		if value == "" {
			return ruleEmpty
		}
		query.filter.tag = value
	case "scope":
		if value == "" {
			return ruleEmpty
		}
		query.filter.scope = c.scope(value)
	case "never_used":
		query.filter.neverUsed, rule = parseBool(value)
	case "unused_since":
		query.filter.unusedSince, rule = parseTime(value)
	case "expires_before":
		query.filter.expiresBefore, rule = parseTime(value)
	case "count":
		var count *bool
		if count, rule = parseBool(value); count != nil {
			query.count = *count
		}
	}
	return rule
}

func parseBool(value string) (*bool, string) {
	if value != "true" && value != "false" {
		return nil, "must be true or false"
	}
	is := value == "true"
	return &is, ""
}

// statusExpiring selects active tokens that expire soon. It is only a filter; no token has
// this status.
const statusExpiring = "expiring"

func statusNames() []string {
	return []string{
		token.StatusActive.String(), token.StatusExpired.String(), token.StatusNotYetValid.String(),
		token.StatusDisabled.String(), token.StatusRevoked.String(), token.StatusDamaged.String(), statusExpiring,
	}
}

// scope returns the scope to filter by. It accepts names that aren't in the catalog,
// because older tokens may have them.
func (c *call) scope(name string) token.Scope {
	for _, known := range c.Policy.Catalog.Scopes {
		if known.Name == name {
			return known.Scope
		}
	}
	return token.Scope{Name: name, Explicit: true}
}

// filter selects the tokens that meet all of its conditions.
type filter struct {
	now time.Time
	// text is in lower case. id is the beginning of an ID; empty matches no token.
	text, id   string
	kind       string
	status     string
	warnBefore token.Lifetime
	account    string
	owner, tag string
	scope      token.Scope
	neverUsed  *bool
	// unusedSince selects tokens that were neither used nor created since that time.
	unusedSince time.Time
	// expiresBefore selects tokens that expire before that time.
	expiresBefore time.Time
}

// idPrefix returns the beginning of an ID that a search text contains. The text may be a token's
// hint, such as "mmk_4fQ9Zt2LkVb7_…", or the beginning of one.
func (c *call) idPrefix(text string) string {
	for _, prefix := range c.Policy.Prefixes {
		for _, kind := range []string{"k_", "a_"} {
			if rest, ok := strings.CutPrefix(text, prefix+kind); ok {
				id, _, _ := strings.Cut(rest, "_")
				return id
			}
		}
	}
	return text
}

// isEmpty reports whether the filter has no conditions.
func (f *filter) isEmpty() bool {
	return f.text == "" && f.kind == "" && f.status == "" && f.account == "" && f.owner == "" && f.tag == "" &&
		f.scope.Name == "" && f.neverUsed == nil && f.unusedSince.IsZero() && f.expiresBefore.IsZero()
}

func (f *filter) matches(t tokenstore.TokenUsage) bool {
	switch {
	case f.kind != "" && t.Token.Kind.String() != f.kind,
		f.account != "" && t.Token.Account != f.account,
		f.owner != "" && t.Token.Metadata[ownerKey] != f.owner,
		f.tag != "" && !slices.Contains(tagsOf(t.Token), f.tag),
		!f.expiresBefore.IsZero() && (t.Token.ExpiresAt.IsZero() || !t.Token.ExpiresAt.Before(f.expiresBefore)),
		f.scope.Name != "" && !f.hasScope(t.Token.Scopes),
		f.neverUsed != nil && *f.neverUsed != t.Usage.Last.Time.IsZero(),
		!f.unusedSince.IsZero() && !lastSeen(t).Before(f.unusedSince),
		f.status != "" && !f.hasStatus(t.Token):
		return false
	}
	return f.text == "" || f.contains(t)
}

// contains reports whether the search text occurs in one of the texts by which people know a
// token: the beginning of its ID, its name, its metadata or the beginning of an address.
func (f *filter) contains(t tokenstore.TokenUsage) bool {
	if f.id != "" && strings.HasPrefix(t.Token.ID.String(), f.id) ||
		strings.Contains(strings.ToLower(t.Token.Name), f.text) || strings.HasPrefix(t.Usage.Last.IP, f.text) {
		return true
	}
	for _, value := range t.Token.Metadata {
		if strings.Contains(strings.ToLower(value), f.text) {
			return true
		}
	}
	return slices.ContainsFunc(t.Token.AllowedIPs, func(allowed netip.Prefix) bool {
		return strings.HasPrefix(allowed.String(), f.text)
	})
}

// lastSeen returns when a token was last used, or when it was created if it has never been
// used.
func lastSeen(t tokenstore.TokenUsage) time.Time {
	if t.Usage.Last.Time.IsZero() {
		return t.Token.CreatedAt
	}
	return t.Usage.Last.Time
}

// hasScope reports whether the grants include the filter's scope. A wildcard in the
// filter, such as "*" or "unikernel:*", matches only tokens with exactly that grant.
func (f *filter) hasScope(grants token.Grants) bool {
	return slices.Contains(grants, f.scope.Name) || grants.Cover(f.scope)
}

func (f *filter) hasStatus(t *token.Token) bool {
	status := t.Status(f.now)
	if f.status != statusExpiring {
		return status.String() == f.status
	}
	return status == token.StatusActive && t.ExpiresSoon(f.warnBefore, f.now)
}
