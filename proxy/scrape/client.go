// Package scrape scrapes many targets concurrently and merges their responses. It is
// independent of Kubernetes and of the HTTP server.
package scrape

import (
	"cmp"
	"crypto/tls"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// Options configure a Client and bound the resources that it uses.
type Options struct {
	ConnectTimeout time.Duration
	MaxInFlight    int    // targets scraped concurrently; 0 = all
	MaxConnections int    // to targets, because of open files; lowers MaxInFlight, and the connections kept open; 0 = no limit
	Workers        int    // bodies read concurrently; 0 = 8 per core; values below 8 count as 8
	BodySizeLimit  int64  // maximum bytes of a body, both as received and decoded
	SampleLimit    int    // maximum samples per target; 0 = none
	MemoryLimit    int64  // of the process, in bytes; targets are dropped to stay within it; 0 = none
	Fallback       string // Content-Type to assume if that of a target is missing or unknown; empty = none
	UserAgent      string
	TLS            *tls.Config // for https targets, without the server name; nil = the system's CAs
}

// Client scrapes targets. Safe for concurrent use. Concurrent scrapes share its limits.
type Client struct {
	opts     Options
	defaults target.Profile
	memory   *memory
	reader   *exposition.Reader
	inFlight chan struct{} // nil = unbounded
	reading  chan struct{}
	works    *works
}

// New creates a client. It keeps connections to targets open between scrapes.
func New(opts Options) *Client {
	c := &Client{opts: opts, reader: exposition.NewReader(shapesFor(opts.MemoryLimit)), reading: make(chan struct{}, workers(opts.Workers, opts.MemoryLimit))}
	c.works = newWorks(scratchFor(opts.MemoryLimit), opts.MemoryLimit > 0)
	c.memory = newMemory(opts.MemoryLimit, cap(c.reading), c.reader)
	transport := NewTransport(TransportOptions{ConnectTimeout: opts.ConnectTimeout, TLS: opts.TLS})
	if most := opts.MaxConnections; most > 0 {
		transport.MaxIdleConns = max(most/3, 1)
		opts.MaxInFlight = min(cmp.Or(opts.MaxInFlight, most), max(most-most/3, 1))
	}
	if opts.MaxInFlight > 0 {
		c.inFlight = make(chan struct{}, opts.MaxInFlight)
	}
	c.defaults = target.Profile{Transport: transport, BodySizeLimit: opts.BodySizeLimit, SampleLimit: opts.SampleLimit}
	return c
}

// profileOf returns the profile of a target with the defaults filled in.
func (c *Client) profileOf(t *target.Target) target.Profile {
	if t.Profile == nil {
		return c.defaults
	}
	p := *t.Profile
	if p.Transport == nil {
		p.Transport = c.defaults.Transport
	}
	p.BodySizeLimit = cmp.Or(p.BodySizeLimit, c.defaults.BodySizeLimit)
	p.SampleLimit = cmp.Or(p.SampleLimit, c.defaults.SampleLimit)
	return p
}

// shapesFor returns the maximum size of the shapes that are kept, in bytes.
func shapesFor(memoryLimit int64) int {
	const most = 32 << 20
	if memoryLimit == 0 {
		return most
	}
	return int(min(most, memoryLimit/8))
}
