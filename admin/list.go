package admin

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

const (
	defaultLimit = 50
	maxLimit     = 200
	// maxQuery is how many bytes q has at most: more than any name.
	maxQuery = 400
)

var listParameters = []string{"limit", "cursor", "sort", "q", "status", "account", "scope", "never_used",
	"unused_since", "count"}

// listQuery is what GET tokens was asked for.
type listQuery struct {
	limit  int
	sort   sorting
	after  *place // nil begins
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
	answer := page{Data: make([]object, 0, len(tokens))}
	for _, t := range tokens {
		answer.Data = append(answer.Data, c.object(t.Token, t.Usage, now))
	}
	if next != nil {
		answer.NextCursor = textOrNull(next.cursor(query.sort))
	}
	if query.count {
		total, err := query.total(c.r.Context(), store)
		if err != nil {
			return c.storeRefusal(err)
		}
		answer.Total = &total
	}
	return c.answer(http.StatusOK, answer)
}

// parseList reads the parameters. A parameter that is given has a value, except
// q, which is what a search box holds.
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
	// The cursor is read last, because it must be of the same order.
	if cursor, given := c.parameters["cursor"]; given {
		after, ok := parseCursor(cursor, query.sort)
		if !ok {
			return query, refuseParameter("cursor", "isn't the next_cursor of a list in this order; begin without")
		}
		query.after = after
	}
	return query, nil
}

// parseListParameter returns what the value must be, if it isn't.
func (c *call) parseListParameter(query *listQuery, name, value string) (rule string) {
	switch name {
	case "limit":
		query.limit, rule = parseLimit(value)
	case "sort":
		var ok bool
		if query.sort, ok = parseSorting(value); !ok {
			return "must be one of " + strings.Join(sortNames(), ", ") + ", with - before it for descending"
		}
	case "q":
		if len(value) > maxQuery {
			return "is longer than any name"
		}
		query.filter.text = value
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
	case "scope":
		if value == "" {
			return ruleEmpty
		}
		query.filter.scope = c.scope(value)
	case "never_used":
		query.filter.neverUsed, rule = parseBool(value)
	case "unused_since":
		query.filter.unusedSince, rule = parseTime(value)
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

// statusExpiring is no state of a token: it is active, but not for long.
const statusExpiring = "expiring"

func statusNames() []string {
	return []string{
		token.StatusActive.String(), token.StatusExpired.String(), token.StatusNotYetValid.String(),
		token.StatusDisabled.String(), token.StatusRevoked.String(), token.StatusDamaged.String(), statusExpiring,
	}
}

// scope is the scope to filter by. One that isn't in the catalog may still be
// that of an old token.
func (c *call) scope(name string) token.Scope {
	for _, known := range c.Policy.Catalog.Scopes {
		if known.Name == name {
			return known.Scope
		}
	}
	return token.Scope{Name: name, Explicit: true}
}

// filter keeps the tokens that have all that is asked for.
type filter struct {
	now        time.Time
	text       string
	status     string
	warnBefore token.Lifetime
	account    string
	scope      token.Scope
	neverUsed  *bool
	// unusedSince keeps what was neither used nor made since.
	unusedSince time.Time
}

// any says whether the filter keeps every token.
func (f *filter) any() bool {
	return f.text == "" && f.status == "" && f.account == "" && f.scope.Name == "" && f.neverUsed == nil &&
		f.unusedSince.IsZero()
}

func (f *filter) keeps(t tokenstore.TokenUsage) bool {
	switch {
	case f.account != "" && t.Token.Account != f.account,
		f.scope.Name != "" && !f.hasScope(t.Token.Scopes),
		f.neverUsed != nil && *f.neverUsed != t.Usage.Last.Time.IsZero(),
		!f.unusedSince.IsZero() && !lastSeen(t).Before(f.unusedSince),
		f.status != "" && !f.hasStatus(t.Token):
		return false
	}
	return f.text == "" || strings.HasPrefix(t.Token.ID.String(), f.text) ||
		strings.Contains(strings.ToLower(t.Token.Name), strings.ToLower(f.text))
}

// lastSeen is when a token was last used, or made.
func lastSeen(t tokenstore.TokenUsage) time.Time {
	if t.Usage.Last.Time.IsZero() {
		return t.Token.CreatedAt
	}
	return t.Usage.Last.Time
}

// hasScope keeps the tokens that may use the scope. "*" and "unikernel:*" are
// grants and no scopes: they keep the tokens that hold just this.
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
