package target

import (
	"fmt"
	"net/netip"
	"slices"
)

// CheckAddress returns an error if an address that a third party chose must not be scraped,
// because it belongs to the machine of the proxy, to the infrastructure around it, such as the
// metadata service of a cloud, or to the API server, whose addresses and ports apiServer has.
// An IPv4-mapped IPv6 address is checked as an IPv4 address, and zones are ignored.
func CheckAddress(address netip.AddrPort, apiServer []netip.AddrPort) error {
	address = plain(address)
	kind := kindOf(address.Addr())
	if slices.ContainsFunc(apiServer, func(a netip.AddrPort) bool { return plain(a) == address }) {
		kind = "that of the API server"
	}
	if kind == "" {
		return nil
	}
	return fmt.Errorf("address %s is reserved: expected one that is not %s, or ALLOW_RESERVED_TARGETS=true", address, kind)
}

// plain returns an address without a zone, and an IPv4-mapped one as an IPv4 address.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// kindOf returns what a plain address is reserved for, or an empty string.
func kindOf(a netip.Addr) string {
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "loopback"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsMulticast():
		return "multicast"
	case a == netip.AddrFrom4([4]byte{100, 100, 100, 200}), a == netip.MustParseAddr("fd00:ec2::254"):
		return "a metadata service"
	}
	return ""
}
