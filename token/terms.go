package token

import (
	"net/netip"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
)

// Terms define what a token allows. Tokens with equal terms share them in memory, so they must
// not be changed.
type Terms struct {
	Kind Kind
	// Account is the backend user for whom an API token acts; empty for admin tokens.
	Account string
	// Scopes are the token's grants; empty for admin tokens.
	Scopes Grants
	// Resources are the resources to which the token is bound; empty for admin tokens.
	Resources Resources
	// AllowedIPs are the addresses from which the token may be used; empty means any.
	AllowedIPs []netip.Prefix
	RateLimit  RateLimit
	Quota      Quota
}

// AllowsIP reports whether the token may be used from ip. An IPv4-mapped IPv6 address
// (::ffff:a.b.c.d) counts as IPv4.
func (t *Terms) AllowsIP(ip netip.Addr) bool {
	if len(t.AllowedIPs) == 0 {
		return true
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(t.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Key returns a string that is the same for two terms if and only if they are equal.
func (t *Terms) Key() string { return string(t.fields(nil)) }

// Clone returns a copy that shares no memory with t.
func (t *Terms) Clone() *Terms {
	c := new(Terms)
	copyFields(t.fields(nil), c.setField)
	return c
}

// copyFields passes encoded fields of a token or of terms to set. It panics if the fields are
// invalid, because an incomplete copy would lack restrictions.
func copyFields(fields []byte, set func(protowire.Number, wire.Field) error) {
	if err := wire.Each(fields, false, set); err != nil {
		panic("token: copying invalid fields: " + err.Error())
	}
}
