package admin

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// unwell is a backend that reports the given health.
type unwell struct {
	tokenstore.Backend
	health *tokenstore.Health
	// damaged is the ID of a token whose record can't be read.
	damaged *token.ID
}

func (u unwell) Health() tokenstore.Health { return *u.health }

func (u unwell) Token(id token.ID) (*token.Token, error) {
	if id == *u.damaged {
		return nil, token.ErrDamaged
	}
	return u.Backend.Token(id)
}

func (u unwell) List(order tokenstore.Order, after *tokenstore.Position, descending bool,
	yield func(*token.Token) bool) error {
	return u.Backend.List(order, after, descending, func(t *token.Token) bool {
		if t.ID == *u.damaged {
			t = &token.Token{ID: t.ID, CreatedAt: t.CreatedAt, Damaged: true}
		}
		return yield(t)
	})
}

// TestHealthFails verifies that healthz responds with 503 and all checks while the store
// can't be written. It also verifies that healthz warns of damage and names the remedy, but
// never reveals a path.
func TestHealthFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		health tokenstore.Health
		status int
		says   string
		checks string // the statuses of the store and damaged checks
	}{
		{tokenstore.Health{}, 200, "", "ok ok"},
		{tokenstore.Health{Write: fmt.Errorf("%w: writing /secret/tokens.db: %w", tokenstore.ErrUnavailable,
			syscall.ENOSPC)}, 503, "no space left on device", "failed ok"},
		{tokenstore.Health{Write: fmt.Errorf("%w: /secret/tokens.db", tokenstore.ErrReplaced)}, 503,
			"caddy api-token restore", "failed ok"},
		{tokenstore.Health{Damaged: 2}, 200, "Damaged tokens: 2. Delete them", "ok warning"},
		{tokenstore.Health{Repairs: []tokenstore.Repair{{}}}, 200, "has been repaired", "ok warning"},
		{tokenstore.Health{Unrepaired: fmt.Errorf("/secret: %w", syscall.EROFS)}, 200,
			"read-only file system. Stop Caddy and run caddy api-token repair", "ok warning"},
		{tokenstore.Health{Size: 1 << 40}, 200, "Free some", "ok ok"},
	} {
		health := c.health
		health.DiskFree = 1 << 30
		f := newFixtureOver(t,
			func(b tokenstore.Backend) tokenstore.Backend { return unwell{b, &health, new(token.ID)} })
		w := f.do(http.MethodGet, "/healthz", "")
		response := readObject(t, w, c.status)
		text, _ := response["warning"].(string)
		if c.status == 503 {
			text, _ = response["detail"].(string)
		}
		if !strings.Contains(text, c.says) || (text == "") != (c.says == "") ||
			strings.Contains(w.Body.String(), "/secret") {
			t.Errorf("%+v: got response %s", c.health, w.Body)
		}
		checks, _ := response["checks"].(map[string]any)
		var got []string
		for _, name := range []string{"store", "damaged"} {
			check, _ := checks[name].(map[string]any)
			status, _ := check["status"].(string)
			got = append(got, status)
		}
		if strings.Join(got, " ") != c.checks {
			t.Errorf("%+v: got checks %v, want %s", c.health, got, c.checks)
		}
	}
}

// TestDamagedToken verifies that a damaged token is listed, that calls for the token are
// refused with advice, and that the token can be deleted.
func TestDamagedToken(t *testing.T) {
	t.Parallel()
	var damaged token.ID
	f := newFixtureOver(t,
		func(b tokenstore.Backend) tokenstore.Backend { return unwell{b, new(tokenstore.Health), &damaged} })
	id, _ := f.create(`{}`)
	f.create(`{}`)
	damaged = token.ID([]byte(id))
	w := f.do(http.MethodGet, "/tokens?status=damaged", "")
	if text := w.Body.String(); strings.Count(text, `"id":`) != 1 || !strings.Contains(text, `"status":"damaged"`) ||
		!strings.Contains(text, id) {
		t.Errorf("got %s", text)
	}
	f.refused(f.do(http.MethodGet, "/tokens/"+id, ""), 503, "store_unavailable")
	if w := f.do(http.MethodDelete, "/tokens/"+id, ""); w.Code != http.StatusNoContent {
		t.Errorf("got status %d and body %s", w.Code, w.Body)
	}
}

// TestCompact verifies that compacting shortens the file and is recorded in the audit log.
func TestCompact(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 20 {
		id, _ := f.create(`{"metadata":{"padding":"` + strings.Repeat("x", 200) + `"}}`)
		f.do(http.MethodDelete, "/tokens/"+id, "")
	}
	response := readObject(t, f.do(http.MethodPost, "/compact", ""), 200)
	before, _ := response["before"].(float64)
	after, _ := response["after"].(float64)
	if after <= 0 || after >= before {
		t.Errorf("got %v", response)
	}
	if w := f.do(http.MethodGet, "/audit?limit=1", ""); !strings.Contains(w.Body.String(), `"compact"`) {
		t.Errorf("got response %s", w.Body)
	}
	f.create(`{}`)
}
