package admin

import (
	"net/http"

	"github.com/mollygate/mollygate/token"
)

type stats struct {
	Tokens   tokenStats   `json:"tokens"`
	Requests requestStats `json:"requests"`
}

type tokenStats struct {
	Active      int `json:"active"`
	Expired     int `json:"expired"`
	NotYetValid int `json:"not_yet_valid"`
	Disabled    int `json:"disabled"`
	Revoked     int `json:"revoked"`
	Damaged     int `json:"damaged"`
}

func newTokenStats(count func(token.Status) int) tokenStats {
	return tokenStats{
		Active: count(token.StatusActive), Expired: count(token.StatusExpired),
		NotYetValid: count(token.StatusNotYetValid), Disabled: count(token.StatusDisabled),
		Revoked: count(token.StatusRevoked), Damaged: count(token.StatusDamaged),
	}
}

// requestStats holds the total usage of all existing tokens.
type requestStats struct {
	OK     uint64 `json:"ok"`
	Denied uint64 `json:"denied"`
}

func (c *call) stats() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	census, err := store.Census(c.r.Context())
	if err != nil {
		return c.storeRefusal(err)
	}
	return c.respond(http.StatusOK, stats{
		Tokens:   newTokenStats(func(status token.Status) int { return census.ByStatus[status] }),
		Requests: requestStats{OK: census.Allowed, Denied: census.Denied},
	})
}
