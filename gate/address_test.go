package gate

import "testing"

func TestCanonicalAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"": "", "@": "", "192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:DB8:0::1": "2001:db8::1",
		"fe80::1%eth0": "fe80::1%eth0", "unix": "", "192.0.2.1:80": "",
	} {
		if got := CanonicalAddress(address); got != want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
	}
}
