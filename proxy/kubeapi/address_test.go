package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"k8s.io/client-go/rest"
)

func TestAddresses(t *testing.T) {
	lookup := func(_ context.Context, network, host string) ([]netip.Addr, error) {
		if network != "ip" || host != "api.example.com" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("fd00::8")}, nil
	}
	for _, test := range []struct {
		server, serviceHost, servicePort string
		want                             string
		isError                          bool
	}{
		{server: "https://10.0.0.1:6443", want: "[10.0.0.1:6443]"},
		{server: "https://10.0.0.1", want: "[10.0.0.1:443]"},
		{server: "http://10.0.0.1/prefix", want: "[10.0.0.1:80]"},
		{server: "https://[fd00::1]:6443", want: "[[fd00::1]:6443]"},
		{server: "10.0.0.1:8080", want: "[10.0.0.1:8080]"},
		{server: "https://api.example.com:6443", want: "[10.0.0.8:6443 [fd00::8]:6443]"},
		{server: "https://other.example.com", want: "[]", isError: true},
		{server: "https://10.0.0.1", serviceHost: "10.96.0.1", servicePort: "443", want: "[10.96.0.1:443 10.0.0.1:443]"},
		{server: "https://other.example.com", serviceHost: "fd00::96", servicePort: "443", want: "[[fd00::96]:443]", isError: true},
		{server: "https://10.0.0.1", serviceHost: "x", servicePort: "y", want: "[10.0.0.1:443]"},
	} {
		t.Setenv("KUBERNETES_SERVICE_HOST", test.serviceHost)
		t.Setenv("KUBERNETES_SERVICE_PORT", test.servicePort)
		client, err := NewClient(&rest.Config{Host: test.server}, Core())
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Addresses(t.Context(), lookup)
		if fmt.Sprint(got) != test.want || (err != nil) != test.isError {
			t.Errorf("%s: got %v, error %v, want %s", test.server, got, err, test.want)
		}
	}
}
