package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// TestTokenResources verifies that the last day of each of a token's resources is shown, and that
// it is kept if the token is bound to the same resource again.
func TestTokenResources(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{"resources":["unikernel/web-*","volume/db"]}`)
	match, err := f.authenticate(secret)
	if err != nil {
		t.Fatal(err)
	}
	f.store.CountAllowedOn(match, "unikernel:create", []string{"block/db"}, tokenstore.LastUse{Time: f.store.Now()})
	check := func(want string) {
		t.Helper()
		w := f.do(http.MethodGet, "/tokens/"+id+"/resources", "")
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("got status %d and %s, want %s", w.Code, w.Body, want)
		}
	}
	const used = `{"resource":"block/db","last_used_on":"2026-03-01T00:00:00Z"}`
	check(`{"data":[` + used + `,{"resource":"unikernel/web-*","last_used_on":null}]}`)
	for _, step := range []struct{ patch, want string }{
		{`{"resources":null}`, ""}, {`{"resources":["block/db"]}`, used},
	} {
		if w := f.do(http.MethodPatch, "/tokens/"+id, step.patch); w.Code != http.StatusOK {
			t.Fatalf("got status %d and %s", w.Code, w.Body)
		}
		check(`{"data":[` + step.want + `]}`)
	}
	f.refused(f.do(http.MethodGet, "/tokens/000000000000/resources", ""), 404, "not_found")
}

// TestUnusedResources verifies when a token with unused resources needs attention.
func TestUnusedResources(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		resources, used string
		// usedAgo is how long ago the resources were used, and unchanged for how long the token
		// was unchanged.
		usedAgo, unchanged time.Duration
		want               string
	}{
		"unused":       {`"unikernel/a","unikernel/b"`, "unikernel/b", day, 20 * day, "[unikernel/a] [unikernel/b]"},
		"just changed": {`"unikernel/a","unikernel/b"`, "unikernel/b", day, 13 * day, ""},
		"long ago":     {`"unikernel/a","unikernel/b"`, "unikernel/b", 91 * day, 100 * day, ""},
		"none used":    {`"unikernel/a","unikernel/b"`, "", day, 20 * day, ""},
		"all used":     {`"unikernel/a","unikernel/b"`, "unikernel/a unikernel/b", day, 20 * day, ""},
		"one":          {`"unikernel/a"`, "", day, 20 * day, ""},
		"unbound":      {``, "", day, 20 * day, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			_, secret := f.create(`{"expires_in":"1y","resources":[` + test.resources + `]}`)
			f.pass(test.unchanged - test.usedAgo)
			match, err := f.authenticate(secret)
			if err != nil {
				t.Fatal(err)
			}
			f.store.CountAllowedOn(match, "unikernel:create", strings.Fields(test.used),
				tokenstore.LastUse{Time: f.store.Now()})
			f.pass(test.usedAgo)
			f.use(secret, 1, tokenstore.LastUse{})
			body := f.do(http.MethodGet, "/overview", "").Body.Bytes()
			var o struct {
				Tokens struct {
					Attention []struct {
						Reason string
						Items  []struct {
							Resources     []string
							UsedResources []string `json:"used_resources"`
						}
					}
				}
			}
			if err := json.Unmarshal(body, &o); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, a := range o.Tokens.Attention {
				if a.Reason == "unused_resources" {
					got = fmt.Sprint(a.Items[0].Resources, " ", a.Items[0].UsedResources)
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q: %s", got, test.want, body)
			}
		})
	}
}

// TestKnownResources verifies what is shown of an account's resources in the backend.
func TestKnownResources(t *testing.T) {
	t.Parallel()
	asked := ""
	f := newFixture(t, func(c *Config) {
		c.ResourceNames = func(_ context.Context, account string) ([]string, error) {
			if asked = account; account == "alice" {
				return []string{"unikernel/a", "unikernel/b"}, nil
			}
			return nil, errors.New("the backend didn't respond")
		}
	})
	for target, want := range map[string]string{
		"/resources?account=alice":   `{"data":["unikernel/a","unikernel/b"],"incomplete":null}`,
		"/resources?account=default": `{"data":[],"incomplete":"the backend didn't respond"}`,
		"/resources":                 `{"data":[],"incomplete":"the backend didn't respond"}`,
	} {
		if w := f.do(http.MethodGet, target, ""); w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%s: got status %d and %s, want %s", target, w.Code, w.Body, want)
		}
	}
	asked = ""
	f.refused(f.do(http.MethodGet, "/resources?account=bob", ""), 400, "invalid_parameter", "parameter=account")
	if asked != "" {
		t.Errorf("the backend was asked about %s", asked)
	}
	const unknown = `{"data":[],"incomplete":"the backend can't be asked"}`
	if w := newFixture(t).do(http.MethodGet, "/resources", ""); w.Body.String() != unknown {
		t.Errorf("without backends: got %s", w.Body)
	}
}
