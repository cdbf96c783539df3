package testbed

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"
)

// ProxyOptions are the choices of StartProxy.
type ProxyOptions struct {
	Binary string            // from BuildProxy
	Args   []string          // none means serve
	Env    map[string]string // all it is told; PORT and METRICS_HTTP_PORT get free ports, ALLOW_RESERVED_TARGETS true, if they are missing
	NoWait bool              // do not wait until it is ready
}

// A Proxy is a running metrics-proxy.
type Proxy struct {
	Process *Process

	port, ownPort string
}

// StartProxy starts the binary with the given environment and waits until it is
// ready, unless the options say otherwise. It listens on all addresses, as it does
// everywhere.
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

// WaitReady returns when /-/ready answers 200, at most after bound.
func (p *Proxy) WaitReady(ctx context.Context, bound time.Duration) error {
	if err := p.Process.comesUp(ctx, bound, answersOK(p.URL("/-/ready"))); err != nil {
		return fmt.Errorf("cannot start the proxy: %w", err)
	}
	return nil
}

// Address is the host and port of the routes.
func (p *Proxy) Address() string { return "127.0.0.1:" + p.port }

// URL is that of a route such as /metrics.
func (p *Proxy) URL(route string) string { return "http://" + p.Address() + route }

// OwnMetricsURL is where the proxy serves the metrics about itself.
func (p *Proxy) OwnMetricsURL() string { return "http://127.0.0.1:" + p.ownPort + "/metrics" }

// Metrics returns one answer of /metrics as text.
func (p *Proxy) Metrics(ctx context.Context) ([]byte, error) { return get(ctx, p.URL("/metrics")) }

// OwnMetrics returns the metrics of the proxy about itself as text.
func (p *Proxy) OwnMetrics(ctx context.Context) ([]byte, error) { return get(ctx, p.OwnMetricsURL()) }

// Log is all that the proxy has logged so far.
func (p *Proxy) Log() string { return p.Process.Stderr() + p.Process.Stdout() }

// Stop sends SIGTERM and returns the exit code.
func (p *Proxy) Stop() (int, error) { return p.Process.Stop(stopBound) }

// ProxyAt is one that somebody else runs, at these ports of this machine.
func ProxyAt(port, ownPort int) *Proxy {
	return &Proxy{port: strconv.Itoa(port), ownPort: strconv.Itoa(ownPort)}
}
