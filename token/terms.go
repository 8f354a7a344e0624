package token

import (
	"net/netip"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
)

// Terms are what a token allows. Tokens that allow the same share them in memory; they are
// never changed.
type Terms struct {
	Kind Kind
	// Account names the backend user on whose behalf an API token acts; empty
	// for admin tokens.
	Account string
	// Scopes are the grants as in [Grants]; empty for admin tokens.
	Scopes Grants
	// AllowedIPs restricts where the token may be used from; empty is anywhere.
	AllowedIPs []netip.Prefix
	RateLimit  RateLimit
	Quota      Quota
}

// AllowsIP reports whether the token may be used from ip. An IPv4 address written
// as IPv6 (::ffff:a.b.c.d) counts as IPv4.
func (t *Terms) AllowsIP(ip netip.Addr) bool {
	if len(t.AllowedIPs) == 0 {
		return true
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(t.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Key returns a text that only equal terms have.
func (t *Terms) Key() string { return string(t.fields(nil)) }

// Clone returns terms that share no memory with t.
func (t *Terms) Clone() *Terms {
	c := new(Terms)
	copyFields(t.fields(nil), c.setField)
	return c
}

// copyFields sets the fields that a valid token or its terms encode. It panics for others:
// a copy that ends at a field would lack the restrictions after it.
func copyFields(fields []byte, set func(protowire.Number, wire.Field) error) {
	if err := wire.Each(fields, false, set); err != nil {
		panic("token: copying what isn't valid: " + err.Error())
	}
}
