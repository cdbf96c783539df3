package kubeapi

import (
	"context"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"
)

// Lookup resolves a host name, as net.Resolver.LookupNetIP does.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// lookupTimeout is the maximum time for resolving the name of the API server.
const lookupTimeout = 2 * time.Second

// Addresses returns the addresses of the API server, with ports: those of the server that the
// client is configured with, and that of the Service kubernetes in a pod. The error is that of
// lookup, which is called if the server is configured by name; the other addresses are valid.
func (c *Client) Addresses(ctx context.Context, lookup Lookup) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	if service, err := netip.ParseAddr(os.Getenv("KUBERNETES_SERVICE_HOST")); err == nil {
		if port, err := strconv.ParseUint(os.Getenv("KUBERNETES_SERVICE_PORT"), 10, 16); err == nil {
			all = append(all, netip.AddrPortFrom(service, uint16(port)))
		}
	}
	server := c.Get().URL()
	port := portOf(server)
	if address, err := netip.ParseAddr(server.Hostname()); err == nil {
		return append(all, netip.AddrPortFrom(address, port)), nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addresses, err := lookup(ctx, "ip", server.Hostname())
	for _, a := range addresses {
		all = append(all, netip.AddrPortFrom(a, port))
	}
	return all, err
}

// portOf returns the port of a URL, or the default one of its scheme.
func portOf(u *url.URL) uint16 {
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint16(port)
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}
