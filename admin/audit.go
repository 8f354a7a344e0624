package admin

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"strconv"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

var auditParameters = []string{"limit", "cursor", "token_id", "actor", "action", "from", "to"}

// auditObject is an audit entry as the API returns it.
type auditObject struct {
	Time      timeOrNull        `json:"time"`
	Actor     textOrNull        `json:"actor"`
	Action    string            `json:"action"`
	TokenID   textOrNull        `json:"token_id"`
	TokenName textOrNull        `json:"token_name"`
	Address   textOrNull        `json:"address"`
	Changes   map[string]string `json:"changes"`
}

type auditPage struct {
	Data       []auditObject `json:"data"`
	NextCursor textOrNull    `json:"next_cursor"`
}

// listAudit lists audit entries, newest first.
func (c *call) listAudit() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	page, from, refusal := c.parseAudit()
	if refusal != nil {
		return refusal
	}
	entries, next, err := searchAudit(c.r.Context(), store, page, from)
	if err != nil {
		return c.storeRefusal(err)
	}
	response := auditPage{Data: make([]auditObject, 0, len(entries))}
	for _, e := range entries {
		line := auditObject{
			Time: timeOrNull(e.Time), Actor: textOrNull(e.Actor), Action: e.Action, TokenName: textOrNull(e.TokenName),
			Address: textOrNull(e.Address), Changes: e.Changes,
		}
		if e.TokenID != (token.ID{}) {
			line.TokenID = textOrNull(e.TokenID.String())
		}
		response.Data = append(response.Data, line)
	}
	if next != nil {
		response.NextCursor = textOrNull(auditCursor(*next))
	}
	return c.respond(http.StatusOK, response)
}

// auditChunk is the maximum number of entries that a search reads in one transaction. It
// keeps a search with few matches from holding a transaction open for long.
const auditChunk = 10_000

// searchAudit returns a page of matching entries that aren't older than from, and the next
// page's position, or nil if this is the last page.
func searchAudit(ctx context.Context, store *tokenstore.Store, page tokenstore.AuditPage,
	from time.Time) (found []tokenstore.AuditEntry, next *tokenstore.AuditPosition, err error) {
	limit, match, over := page.Limit, page.Match, false
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		// Treat the entry after the chunk as a match, so the store returns its position.
		left := auditChunk
		page.Match = func(e tokenstore.AuditEntry) bool {
			left--
			over = over || e.Time.Before(from)
			return left < 0 || over || match(e)
		}
		page.Limit = limit - len(found)
		entries, next, err := store.Audit(page)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			if !e.Time.Before(from) && match(e) {
				found = append(found, e)
			}
		}
		if over {
			return found, nil, nil
		}
		if next == nil || len(found) == limit {
			return found, next, nil
		}
		page.Before = next
	}
}

func (c *call) parseAudit() (page tokenstore.AuditPage, from time.Time, refusal *Refusal) {
	page.Limit = defaultLimit
	var to time.Time
	for name, t := range map[string]*time.Time{"from": &from, "to": &to} {
		if text, given := c.parameters[name]; given {
			var rule string
			if *t, rule = parseTime(text); rule != "" {
				return page, from, refuseParameter(name, rule)
			}
		}
	}
	if !to.IsZero() {
		page.Before = &tokenstore.AuditPosition{Time: to}
	}
	if limit, given := c.parameters["limit"]; given {
		var rule string
		if page.Limit, rule = parseLimit(limit); rule != "" {
			return page, from, refuseParameter("limit", rule)
		}
	}
	if cursor, given := c.parameters["cursor"]; given {
		position, ok := parseAuditCursor(cursor)
		if !ok {
			return page, from, refuseParameter("cursor",
				"isn't a next_cursor from the audit log; leave it out to start over")
		}
		if page.Before == nil || position.Time.Before(to) {
			page.Before = position
		}
	}
	actor, action := c.parameters["actor"], c.parameters["action"]
	for _, name := range []string{"actor", "action"} {
		if value, given := c.parameters[name]; given && value == "" {
			return page, from, refuseParameter(name, ruleEmpty)
		}
	}
	text, byID := c.parameters["token_id"]
	id, err := token.ParseID(text)
	if byID && err != nil {
		return page, from, refuseParameter("token_id", "isn't a token ID: "+err.Error())
	}
	page.Match = func(e tokenstore.AuditEntry) bool {
		return (!byID || e.TokenID == id) && (actor == "" || e.Actor == actor) && (action == "" || e.Action == action)
	}
	return page, from, nil
}

// parseLimit parses a page size. If the value is invalid, it returns the rule that the
// value violates.
func parseLimit(value string) (limit int, rule string) {
	limit, err := strconv.Atoi(value)
	if err != nil || strconv.Itoa(limit) != value || limit < 1 || limit > maxLimit {
		return 0, "must be a whole number from 1 to " + strconv.Itoa(maxLimit)
	}
	return limit, ""
}

// auditCursor returns the cursor for a position. Like a token list's cursor, it includes a
// checksum.
func auditCursor(at tokenstore.AuditPosition) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(at.Time.UnixMicro()))
	raw = binary.BigEndian.AppendUint64(raw, at.Sequence)
	return cursorEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw)))
}

func parseAuditCursor(cursor string) (*tokenstore.AuditPosition, bool) {
	raw, err := cursorEncoding.DecodeString(cursor)
	if err != nil || len(raw) != 20 || crc32.ChecksumIEEE(raw[:16]) != binary.BigEndian.Uint32(raw[16:]) {
		return nil, false
	}
	return &tokenstore.AuditPosition{
		Time:     time.UnixMicro(int64(binary.BigEndian.Uint64(raw))).UTC(),
		Sequence: binary.BigEndian.Uint64(raw[8:]),
	}, true
}
