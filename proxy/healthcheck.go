package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/server"
)

// healthcheck asks the proxy that runs with the same PORT whether it answers.
func healthcheck(ctx context.Context, environ []string) error {
	s, err := config.LoadServe(environ)
	if err != nil {
		return usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	url := fmt.Sprintf("http://127.0.0.1:%d/-/healthy", s.Port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("cannot reach the proxy: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil || resp.StatusCode != http.StatusOK || string(body) != server.Healthy {
		return fmt.Errorf("%s answered %s %q: this is not a healthy metrics-proxy", url, resp.Status, body)
	}
	return nil
}
