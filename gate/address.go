package gate

import "net/netip"

// AddressText returns the text of a client's address, or "" if there is none, as of a
// client on a unix socket.
func AddressText(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	return address.Unmap().String()
}
