package discovery

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// resolve updates the addresses of the API server, which no pod may have. Those of a name that
// cannot be resolved now are kept.
func (v *view) resolve(ctx context.Context) {
	if v.all.opts.AllowReserved {
		return
	}
	addresses, err := v.client.Addresses(ctx, v.all.opts.Lookup)
	if err != nil {
		for _, a := range v.apiServer {
			if !slices.Contains(addresses, a) {
				addresses = append(addresses, a)
			}
		}
	}
	v.apiServer = addresses
}

// refuseReserved replaces the URL of a target at a reserved address by a Problem.
func (v *view) refuseReserved(t *target.Target) {
	if v.all.opts.AllowReserved || t.Problem != nil {
		return
	}
	if err := checkURL(t.URL, v.apiServer); err != nil {
		t.URL, t.Problem = "", &target.Problem{Reason: target.Reserved, Err: err}
	}
}

// checkURL checks the address of a URL. It refuses a host that is not an IP address in
// canonical form, such as 127.1, because resolvers accept some of them.
func checkURL(raw string, apiServer []netip.AddrPort) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return fmt.Errorf("address of the pod is %s: expected an IP address", excerpt(u.Hostname()))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("port is %s: expected a TCP port", excerpt(port))
	}
	return target.CheckAddress(netip.AddrPortFrom(address, uint16(n)), apiServer)
}
