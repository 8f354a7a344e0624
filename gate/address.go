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
