package target

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCheckAddress(t *testing.T) {
	apiServer := []netip.AddrPort{
		netip.MustParseAddrPort("10.0.0.1:443"), netip.MustParseAddrPort("[::ffff:10.0.0.2]:6443"), netip.MustParseAddrPort("[fd00::1%eth0]:443"),
	}
	for address, want := range map[string]string{ // part of the message; empty = may be scraped
		"10.1.2.3:80":                "",
		"[::ffff:10.1.2.3]:80":       "",
		"192.168.0.1:443":            "",
		"100.64.0.1:80":              "",
		"8.8.8.8:80":                 "",
		"126.255.255.255:80":         "",
		"128.0.0.1:80":               "",
		"[fd00::2]:80":               "",
		"[2001:db8::1]:80":           "",
		"[fec0::1]:80":               "",
		"[fe7f::1]:80":               "",
		"100.100.100.201:80":         "",
		"[fd00:ec2::253]:80":         "",
		"169.253.255.255:80":         "",
		"169.255.0.0:80":             "",
		"127.0.0.1:80":               "address 127.0.0.1:80 is reserved: expected one that is not loopback, or ALLOW_RESERVED_TARGETS=true",
		"127.255.255.254:80":         "loopback",
		"[::1]:80":                   "loopback",
		"[::ffff:127.0.0.1]:80":      "loopback",
		"[::ffff:7f01:203]:80":       "loopback",
		"[::1%lo]:80":                "loopback",
		"169.254.0.0:80":             "link-local",
		"169.254.169.254:80":         "link-local",
		"169.254.255.255:80":         "link-local",
		"[::ffff:169.254.0.1]:80":    "link-local",
		"[fe80::1]:80":               "link-local",
		"[fe80::1%eth0]:80":          "link-local",
		"[febf:ffff::1]:80":          "link-local",
		"0.0.0.0:80":                 "unspecified",
		"[::]:80":                    "unspecified",
		"[::ffff:0.0.0.0]:80":        "unspecified",
		"224.0.0.1:80":               "multicast",
		"239.255.255.255:80":         "multicast",
		"[ff02::1]:80":               "multicast",
		"[ff0e::1]:80":               "multicast",
		"[::ffff:224.0.0.1]:80":      "multicast",
		"100.100.100.200:80":         "a metadata service",
		"[::ffff:100.100.100.200]:1": "a metadata service",
		"[fd00:ec2::254]:80":         "a metadata service",
		"[fd00:ec2::254%eth0]:80":    "a metadata service",
		"10.0.0.1:443":               "that of the API server",
		"[::ffff:10.0.0.1]:443":      "that of the API server",
		"10.0.0.2:6443":              "that of the API server",
		"[fd00::1]:443":              "that of the API server",
		"10.0.0.1:80":                "",
		"10.0.0.2:443":               "",
		"[fd00::1]:444":              "",
	} {
		err := CheckAddress(netip.MustParseAddrPort(address), apiServer)
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", address, err, want)
		}
	}
	if CheckAddress(netip.AddrPort{}, nil) == nil {
		t.Error("no address was accepted")
	}
}
