package discovery

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// at returns a pod with an address.
func at(name, address string, annotations map[string]string) *corev1.Pod {
	pod := newPod(name, annotations)
	pod.Status.PodIP = address
	return pod
}

// TestReservedAddresses checks which pods are refused because of their addresses, and that
// AllowReserved accepts them. The table of addresses is in package target.
func TestReservedAddresses(t *testing.T) {
	for address, want := range map[string]string{ // part of the message; empty = scraped
		"10.0.0.1":                 "",
		"::ffff:10.0.0.1":          "",
		"fd00::1":                  "",
		"127.0.0.1":                "loopback",
		"169.254.169.254":          "address 169.254.169.254:80 is reserved",
		"fe80::1%eth0":             "link-local",
		"::ffff:127.0.0.1":         "loopback",
		"0.0.0.0":                  "unspecified",
		"127.1":                    `address of the pod is "127.1": expected an IP address`,
		"2130706433":               "expected an IP address",
		"010.0.0.1":                "expected an IP address",
		"metadata.google.internal": "expected an IP address",
	} {
		refusing, allowing := newPods(t, nil), newPods(t, func(o *Options) { o.AllowReserved = true })
		for _, p := range []*Pods{refusing, allowing} {
			must(t, p.views[0].Add(at("a", address, nil)))
		}
		got := refusing.Targets()[0]
		if (got.Problem != nil) != (want != "") || (got.URL == "") != (want != "") {
			t.Errorf("%s: got target %+v", address, got)
		} else if want != "" && (got.Problem.Reason != "reserved" || !strings.Contains(got.Problem.Err.Error(), want)) {
			t.Errorf("%s: got problem %s: %v, want %q", address, got.Problem.Reason, got.Problem.Err, want)
		}
		if got := allowing.Targets()[0]; got.Problem != nil || got.URL == "" {
			t.Errorf("%s is allowed: got target %+v", address, got)
		}
	}
}

// TestAddressOfTheAPIServer checks that a pod with the address of the API server is refused
// only at the port of the API server, that the name of the server is resolved again with each
// watch, and that the last addresses stay while it cannot be resolved.
func TestAddressOfTheAPIServer(t *testing.T) {
	for name, api := range map[string]*fakeAPI{"list and watch": {}, "watch that starts with a list": {supportsWatchList: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				address, failure := "10.0.0.1", error(nil)
				p, _ := api.start(t, func(o *Options) {
					o.Lookup = func(_ context.Context, network, host string) ([]netip.Addr, error) {
						api.mu.Lock()
						defer api.mu.Unlock()
						if failure != nil {
							return nil, failure
						}
						return []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr(address)}, nil
					}
				})
				want := func(want string) {
					t.Helper()
					api.put(at("a", "10.0.0.1", map[string]string{portAnnotation: "80,81"}), at("b", "10.0.0.2", nil))
					if got := summary(p.Targets()); got != want {
						t.Errorf("got targets %s, want %s", got, want)
					}
				}
				want("(reserved) http://10.0.0.1:81/metrics http://10.0.0.2:80/metrics")
				restart := func() {
					api.goDown()
					time.Sleep(time.Minute)
					api.set(func() { api.isDown = false })
					sleepUntilReady(t, p)
				}
				api.set(func() { failure = errors.New("no such host") })
				restart()
				want("(reserved) http://10.0.0.1:81/metrics http://10.0.0.2:80/metrics")
				api.set(func() { address, failure = "10.0.0.2", nil })
				restart()
				want("http://10.0.0.1:80/metrics http://10.0.0.1:81/metrics (reserved)")
			})
		})
	}
}
