package token

import (
	"net/netip"
	"testing"
	"time"
)

// TestStatus checks that a token's validity begins and ends exactly to the nanosecond.
func TestStatus(t *testing.T) {
	t.Parallel()
	at := func(seconds time.Duration) time.Time { return testTime.Add(seconds * time.Second) }
	for name, c := range map[string]struct {
		token Token
		want  Status
	}{
		"never expires":              {Token{}, StatusActive},
		"active":                     {Token{NotBefore: at(-1), ExpiresAt: at(1)}, StatusActive},
		"valid from now":             {Token{NotBefore: at(0)}, StatusActive},
		"a nanosecond before":        {Token{NotBefore: testTime.Add(1)}, StatusNotYetValid},
		"a nanosecond before expiry": {Token{ExpiresAt: testTime.Add(1)}, StatusActive},
		"expires now":                {Token{ExpiresAt: at(0)}, StatusExpired},
		"a nanosecond after expiry":  {Token{ExpiresAt: testTime.Add(-1)}, StatusExpired},
		"disabled":                   {Token{DisabledAt: at(-9)}, StatusDisabled},
		"revoked":                    {Token{RevokedAt: at(-9)}, StatusRevoked},
		"revoked in the future":      {Token{RevokedAt: at(9)}, StatusRevoked},
		"all states": {Token{RevokedAt: at(-1), DisabledAt: at(-2), NotBefore: at(1),
			ExpiresAt: at(-1)}, StatusRevoked},
		"all but revoked": {Token{DisabledAt: at(-2), NotBefore: at(1), ExpiresAt: at(-1)}, StatusDisabled},
		"never valid":     {Token{NotBefore: at(1), ExpiresAt: at(-1)}, StatusNotYetValid},
	} {
		if got := c.token.Status(testTime); got != c.want {
			t.Errorf("%s: got status %v, want %v", name, got, c.want)
		}
		if got := c.token.SecretStatus(false, testTime); got != c.want {
			t.Errorf("%s: got status %v for the current secret, want %v", name, got, c.want)
		}
		if got := c.token.SecretStatus(true, testTime); got != StatusRevoked {
			t.Errorf("%s: got status %v for a previous secret without a grace period, want revoked", name, got)
		}
		c.token.PreviousValidUntil = testTime
		if got := c.token.SecretStatus(true, testTime); got != StatusRevoked {
			t.Errorf("%s: got status %v for the previous secret at the end of its grace period, want revoked", name,
				got)
		}
		c.token.PreviousValidUntil = testTime.Add(1)
		if got := c.token.SecretStatus(true, testTime); got != c.want {
			t.Errorf("%s: got status %v for the previous secret within its grace period, want %v", name, got, c.want)
		}
	}
}

func TestSecretOf(t *testing.T) {
	t.Parallel()
	one, two := DigestOf("one"), DigestOf("two")
	for name, c := range map[string]struct {
		token        Token
		digest       Digest
		previous, ok bool
	}{
		"current":          {Token{Digest: one, PreviousDigest: two}, one, false, true},
		"previous":         {Token{Digest: one, PreviousDigest: two}, two, true, true},
		"neither":          {Token{Digest: one}, two, true, false},
		"no digest at all": {Token{Digest: one}, Digest{}, true, false},
	} {
		if previous, ok := c.token.SecretOf(c.digest); ok != c.ok || (ok && previous != c.previous) {
			t.Errorf("%s: got %v, %v; want %v, %v", name, previous, ok, c.previous, c.ok)
		}
	}
}

func TestAllowsIP(t *testing.T) {
	t.Parallel()
	token := Token{
		Terms: Terms{AllowedIPs: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"),
			netip.MustParsePrefix("fe80::/10")}}}
	for ip, want := range map[string]bool{
		"203.0.113.7": true, "::ffff:203.0.113.7": true, "203.0.114.7": false, "fe80::1": true, "fe80::1%eth0": true,
		"::203.0.113.7": false, "2001:db8::1": false, "::ffff:10.0.0.1%eth0": false,
	} {
		if got := token.AllowsIP(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: got %v, want %v", ip, got, want)
		}
	}
	if token.AllowsIP(netip.Addr{}) {
		t.Error("a restricted token allows a client without an address")
	}
	if !new(Terms).AllowsIP(netip.Addr{}) {
		t.Error("an unrestricted token doesn't allow a client without an address")
	}
}

func TestCover(t *testing.T) {
	t.Parallel()
	list, explicit := Scope{Name: "unikernel:list"}, Scope{Name: "monitoring:update", Explicit: true}
	for _, c := range []struct {
		grant          string
		list, explicit bool
	}{
		{"unikernel:list", true, false}, {"unikernel:*", true, false}, {"*", true, false},
		{"monitoring:*", false, true}, {"monitoring:update", false, true},
		{"", false, false}, {"unikernel", false, false}, {"unikernel:", false, false}, {"unikernel:l*", false, false},
		{"unikernel*", false, false},
		{"Unikernel:list", false, false}, {"unikernel:lis", false, false}, {"unikernel:list ", false, false},
		{":*", false, false},
		{"**", false, false}, {"*:list", false, false}, {"*:*", false, false}, {"kernel:*", false, false},
	} {
		if got := (Grants{"block:get", c.grant}).Cover(list); got != c.list {
			t.Errorf("%q covers %s: got %v, want %v", c.grant, list.Name, got, c.list)
		}
		if got := (Grants{c.grant}).Cover(explicit); got != c.explicit {
			t.Errorf("%q covers %s: got %v, want %v", c.grant, explicit.Name, got, c.explicit)
		}
	}
	if (Grants)(nil).Cover(list) {
		t.Error("an empty list of grants covers a scope")
	}
}

func TestHint(t *testing.T) {
	t.Parallel()
	id := ID([]byte("4fQ9Zt2LkVb7"))
	for want, token := range map[string]Token{
		"mmk_4fQ9Zt2LkVb7_…": {ID: id, Terms: Terms{Kind: KindAPI}, Format: FormatNative, Prefix: "mm"},
		"zza_4fQ9Zt2LkVb7_…": {ID: id, Terms: Terms{Kind: KindAdmin}, Format: FormatNative, Prefix: "zz"},
		"":                   {ID: id, Terms: Terms{Kind: KindAPI}, Format: FormatImported},
	} {
		if got := token.Hint(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
