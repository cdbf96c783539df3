package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/server"
)

// healthcheck checks the proxy that listens on PORT on this host.
func healthcheck(ctx context.Context, environ []string) error {
	s, err := config.LoadServe(environ)
	if err != nil {
		return usageError{err}
	}
	return checkHealth(ctx, fmt.Sprintf("%s://127.0.0.1:%d", scheme, s.Port))
}

// checkHealth returns nil if a healthy proxy responds within 5 s at address, a URL without
// a path. As in the probes of a kubelet, the certificate is not verified, because nothing
// secret is sent or received.
func checkHealth(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	url := address + "/-/healthy"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("cannot reach the proxy: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil || resp.StatusCode != http.StatusOK || string(body) != server.Healthy {
		return fmt.Errorf("%s returned %s %q: this is not a healthy metrics-proxy", url, resp.Status, body)
	}
	return nil
}
