package testbed

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"
)

// ProxyOptions are the options of StartProxy.
type ProxyOptions struct {
	Binary string            // from BuildProxy
	Args   []string          // empty means serve
	Env    map[string]string // environment variables; PORT and METRICS_HTTP_PORT default to free ports, ALLOW_RESERVED_TARGETS to true
	NoWait bool              // do not wait until it is ready
}

// A Proxy is a metrics-proxy process.
type Proxy struct {
	Process *Process

	port, ownPort string
}

// StartProxy starts the proxy and, unless NoWait is set, waits until it is ready. The proxy
// listens on all addresses.
func (b *Bed) StartProxy(ctx context.Context, options ProxyOptions) (*Proxy, error) {
	environment := maps.Clone(options.Env)
	if environment == nil {
		environment = map[string]string{}
	}
	for _, name := range []string{"PORT", "METRICS_HTTP_PORT"} {
		if _, given := environment[name]; given {
			continue
		}
		port, err := FreePort()
		if err != nil {
			return nil, fmt.Errorf("cannot start the proxy: %w", err)
		}
		environment[name] = strconv.Itoa(port)
	}
	if _, given := environment["ALLOW_RESERVED_TARGETS"]; !given {
		environment["ALLOW_RESERVED_TARGETS"] = "true" // the bed's pods are at loopback addresses
	}
	var env []string
	for name, value := range environment {
		env = append(env, name+"="+value)
	}
	process, err := b.Start(Command{Name: "metrics-proxy", Path: options.Binary, Args: options.Args, Env: env})
	if err != nil {
		return nil, err
	}
	p := &Proxy{Process: process, port: environment["PORT"], ownPort: environment["METRICS_HTTP_PORT"]}
	if options.NoWait {
		return p, nil
	}
	return p, p.WaitReady(ctx, readyBound)
}

// WaitReady waits until /-/ready returns status 200, at most for bound.
func (p *Proxy) WaitReady(ctx context.Context, bound time.Duration) error {
	if err := p.Process.waitReady(ctx, bound, probeOK(p.URL("/-/ready"))); err != nil {
		return fmt.Errorf("cannot start the proxy: %w", err)
	}
	return nil
}

// Address returns the host:port of PORT.
func (p *Proxy) Address() string { return "127.0.0.1:" + p.port }

// URL returns the URL of a route such as /metrics.
func (p *Proxy) URL(route string) string { return "http://" + p.Address() + route }

// OwnMetricsURL returns the URL of the proxy's own metrics.
func (p *Proxy) OwnMetricsURL() string { return "http://127.0.0.1:" + p.ownPort + "/metrics" }

// Metrics scrapes /metrics and returns the body, in the text format.
func (p *Proxy) Metrics(ctx context.Context) ([]byte, error) { return get(ctx, p.URL("/metrics")) }

// OwnMetrics returns the proxy's own metrics, in the text format.
func (p *Proxy) OwnMetrics(ctx context.Context) ([]byte, error) { return get(ctx, p.OwnMetricsURL()) }

// Log returns what the proxy has logged so far.
func (p *Proxy) Log() string { return p.Process.Stderr() + p.Process.Stdout() }

// Stop sends SIGTERM and returns the exit code.
func (p *Proxy) Stop() (int, error) { return p.Process.Stop(stopBound) }

// ProxyAt returns a Proxy for a process that this package did not start, such as a container.
// Process is nil.
func ProxyAt(port, ownPort int) *Proxy {
	return &Proxy{port: strconv.Itoa(port), ownPort: strconv.Itoa(ownPort)}
}
