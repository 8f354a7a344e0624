package gate

import "net/netip"

// AddressText returns a client address as text, or "" if the client has none, as on a unix
// socket.
func AddressText(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	return address.Unmap().String()
}

// ParseAddress parses a client address that Caddy has determined. It returns the zero Addr if
// the client has none.
func ParseAddress(text string) netip.Addr {
	address, _ := netip.ParseAddr(text)
	return address.Unmap()
}

// CanonicalAddress returns the canonical spelling of a client address that Caddy has determined, or
// "" if the client has none.
func CanonicalAddress(text string) string {
	for i := range len(text) {
		if c := text[i]; c != '.' && (c < '0' || c > '9') {
			return AddressText(ParseAddress(text))
		}
	}
	return text // an IPv4 address, which can be written in only one way
}
