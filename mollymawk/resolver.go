package mollymawk

import (
	"net/netip"

	"github.com/mollygate/mollygate/gate"
)

// checkUpdate implements gate.Route.Adapt for updates, which may make Mollymawk query a DNS
// resolver. Mollymawk crashes if the resolver's port is negative or not a number.
func checkUpdate(call *gate.Call) error {
	members, ok := parseObject(call.Body)
	if !ok {
		return nil // Mollymawk refuses it
	}
	i := members.index("dns_liveliness")
	if i < 0 {
		return nil
	}
	lookup, ok := parseObject(members[i].value)
	if !ok {
		return nil
	}
	if address, ok := lookup.text("dns_address"); ok && address != "" && !isResolver(address) {
		return invalid(
			"dns_address must be an IP address, optionally with a port, such as 192.0.2.1:53 or [2001:db8::1]:53.")
	}
	return nil
}

func isResolver(address string) bool {
	if withPort, err := netip.ParseAddrPort(address); err == nil {
		return withPort.Addr().Zone() == ""
	}
	alone, err := netip.ParseAddr(address)
	return err == nil && alone.Zone() == ""
}
