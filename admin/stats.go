package admin

import (
	"net/http"

	"github.com/mollygate/mollygate/tokenstore"
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
}

// requestStats sums up the uses of the tokens there are.
type requestStats struct {
	OK     uint64 `json:"ok"`
	Denied uint64 `json:"denied"`
}

func (c *call) stats() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	now := store.Now()
	var s stats
	byStatus := map[tokenstore.Status]*int{
		tokenstore.StatusActive: &s.Tokens.Active, tokenstore.StatusExpired: &s.Tokens.Expired, tokenstore.StatusNotYetValid: &s.Tokens.NotYetValid,
		tokenstore.StatusDisabled: &s.Tokens.Disabled, tokenstore.StatusRevoked: &s.Tokens.Revoked,
	}
	err := store.Scan(c.r.Context(), func(t tokenstore.TokenUsage) bool {
		*byStatus[t.Token.Status(now)]++
		s.Requests.OK += t.Usage.Allowed
		s.Requests.Denied += t.Usage.Denied
		return true
	})
	if err != nil {
		return c.storeRefusal(err)
	}
	return c.answer(http.StatusOK, s)
}
