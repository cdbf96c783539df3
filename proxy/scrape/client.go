// Package scrape scrapes many targets concurrently and merges their responses. It is
// independent of Kubernetes and of the HTTP server.
package scrape

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
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
}

// New creates a client. It keeps connections to targets open between scrapes.
func New(opts Options) *Client {
	c := &Client{opts: opts, reader: exposition.NewReader(shapesFor(opts.MemoryLimit)), reading: make(chan struct{}, workers(opts.Workers, opts.MemoryLimit))}
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

// TransportOptions configure NewTransport.
type TransportOptions struct {
	ConnectTimeout time.Duration // for the connection, and again for the TLS handshake
	TLS            *tls.Config   // for https targets; nil = the system's CAs. An empty ServerName is the host of the URL

	// Dial opens the connections, also those that TLS is used on; nil = TCP to the address.
	// It is for example for a unix socket.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewTransport creates the transport of a profile. It is used without an http.Client, so
// redirects, which could lead to any address, are not followed.
func NewTransport(opts TransportOptions) *http.Transport {
	dial := dial(opts.Dial)
	if dial == nil {
		dial = (&net.Dialer{Timeout: opts.ConnectTimeout}).DialContext
	}
	return &http.Transport{
		DialContext:            dial,
		DialTLSContext:         tlsDialer(dial, opts.TLS, opts.ConnectTimeout),
		DisableCompression:     true, // decompression costs more than the merge; decode bounds it
		MaxIdleConnsPerHost:    2,    // two Prometheus servers may scrape at the same time
		IdleConnTimeout:        5 * time.Minute,
		ReadBufferSize:         1 << 10, // for headers only: reads of bodies bypass the buffer
		WriteBufferSize:        1 << 10,
		MaxResponseHeaderBytes: 64 << 10,
	}
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

// dial opens a connection, as net.Dialer.DialContext does.
type dial func(ctx context.Context, network, address string) (net.Conn, error)

// tlsDialer returns a dial with a TLS handshake, whose errors are of type *handshakeError.
// The handshake has its own timeout, because the transport continues a dial after the
// request has ended.
func tlsDialer(plain dial, config *tls.Config, timeout time.Duration) dial {
	if config == nil {
		config = &tls.Config{}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := plain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		ofTarget := config.Clone()
		ofTarget.ServerName = cmp.Or(ofTarget.ServerName, host)
		ofTarget.MinVersion = max(ofTarget.MinVersion, tls.VersionTLS12)
		secured := tls.Client(conn, ofTarget)
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, &handshakeError{err}
		}
		return secured, nil
	}
}

// Result is the result of one target.
type Result struct {
	Target  *target.Target
	Outcome target.Outcome
	part    exposition.Part
}

// Answer is the merged exposition of all targets, with their results.
type Answer struct {
	*exposition.Merged
	Results   []Result      // in the order of the targets
	MergeTime time.Duration // duration of the merge, without writing
	ledger    *ledger
}

// Release releases the memory of the bodies. Call it once, after the answer is written.
func (a Answer) Release() {
	a.Merged.Release()
	a.ledger.close()
}

// Held returns how many bytes of memory the answer keeps until Release, as far as MEMORY_LIMIT
// counts them.
func (a Answer) Held() int64 {
	if a.ledger == nil {
		return 0
	}
	a.ledger.memory.mu.Lock()
	defer a.ledger.memory.mu.Unlock()
	return a.ledger.sum
}

// Deadline returns the time until which to wait for targets, given the number of bytes
// received from all of them so far. With more bytes, it must not return a later time.
type Deadline func(bytes int64) time.Time

// Request is one scrape of many targets.
type Request struct {
	// Targets returns the current targets. It is called before they are scraped and again
	// after the last response: see Gather.
	Targets  func() []*target.Target
	Format   exposition.Format // of the merged exposition
	Deadline Deadline
	Via      []string // proxy instances that the scrape has passed through: see ViaHeader

	// Visit is called before a target is scraped, and the function that it returns afterwards.
	// Both may be called concurrently. May be nil.
	Visit func(*target.Target) (leave func())
}

// Gather scrapes all targets concurrently and merges their responses in the requested format.
// It waits until each target has responded, the deadline has passed or ctx has ended. A
// target that fails does not affect the samples of others. After the last response, the
// targets are looked up again. The response of a target whose owner is gone or has another
// address is dropped, because it may come from another pod. The caller must call Release.
func (c *Client) Gather(ctx context.Context, req Request) Answer {
	targets := req.Targets()
	ctx, cancel := context.WithDeadline(ctx, req.Deadline(0))
	defer cancel()
	var bytes atomic.Int64
	go func() { // ends with ctx
		for wait(ctx, time.Until(req.Deadline(bytes.Load()))) {
		}
		cancel()
	}()
	header := c.header(ctx, req)
	results := make([]Result, len(targets))
	ledger := c.memory.open(results)
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			if req.Visit != nil {
				defer req.Visit(t)()
			}
			result := c.scrape(ctx, t, req.Format, header, func(bytes int64) error { return ledger.reserve(i, bytes) })
			bytes.Add(result.Outcome.Bytes)
			ledger.store(i, result)
		})
	}
	wg.Wait()
	c.memory.tune()
	results = stillKnown(results, req.Targets())
	parts := make([]exposition.Part, len(results))
	for i := range results {
		parts[i] = results[i].part
	}
	start := time.Now()
	merged := exposition.Merge(req.Format, parts)
	return Answer{Merged: merged, Results: results, MergeTime: time.Since(start), ledger: ledger}
}

// stillKnown returns the results of the targets that still have the same address: of the same
// target or, if the owner declares other targets by now, of its owner. Targets without an owner
// keep their results.
func stillKnown(results []Result, known []*target.Target) []Result {
	if slices.EqualFunc(results, known, func(r Result, t *target.Target) bool { return r.Target == t }) {
		return results
	}
	byID, byOwner := make(map[string]*target.Target, len(known)), make(map[string]*target.Target, len(known))
	for _, t := range known {
		byID[t.ID], byOwner[t.Owner] = t, t
	}
	var still []Result
	for _, r := range results {
		if r.Target.Owner == "" {
			still = append(still, r)
			continue
		}
		t := byID[r.Target.ID]
		if t == nil {
			t = byOwner[r.Target.Owner]
		}
		if t == nil || t.Address != r.Target.Address {
			if r.part.Body != nil {
				r.part.Body.Release()
			}
			continue
		}
		if t.Terminating && !r.Target.Terminating { // a failed scrape of it is now expected
			terminating := *r.Target
			terminating.Terminating = true
			r.Target, r.part.HasUp = &terminating, r.part.Up
		}
		still = append(still, r)
	}
	return still
}

// wait waits for d, but at most 50 ms, because the deadline may have changed by then. It
// reports whether to continue waiting.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(min(d, 50*time.Millisecond)):
		return true
	}
}

// scrape scrapes one target. The result has an up sample, unless another target has the same
// labels, or the target is terminating and the scrape failed.
func (c *Client) scrape(ctx context.Context, t *target.Target, format exposition.Format, header http.Header, reserve func(int64) error) Result {
	r := Result{Target: t, part: exposition.Part{Labels: render(t.Labels)}}
	start := time.Now()
	var err error
	if t.Problem != nil {
		r.Outcome.Reason, err = t.Problem.Reason, t.Problem.Err
	} else {
		r.part.Body, r.Outcome.Bytes, err = c.fetchSafely(ctx, t, header, exposition.Options{
			Format: format, Fallback: c.opts.Fallback, Labels: r.part.Labels, Reserve: reserve,
		})
		r.Outcome.Reason = reasonOf(err)
		switch r.Outcome.Reason {
		case target.Timeout:
			err = fmt.Errorf("no complete response by the deadline: %w", err)
		case target.Incomplete:
			err = fmt.Errorf("incomplete HTTP response: %w", err)
		}
		if err != nil {
			err = truncatedError{err}
		}
	}
	r.Outcome.Err = err
	r.Outcome.Duration = time.Since(start)
	if r.part.Body != nil {
		r.Outcome.Samples = r.part.Body.Samples()
	}
	r.part.Up = err == nil
	r.part.HasUp = r.part.Up || !t.Terminating && r.Outcome.Reason != target.Identity
	return r
}

// drop releases the body and makes the result that of a target with reason memory.
func (r *Result) drop() {
	r.part.Body.Release()
	r.part.Body, r.part.Up, r.part.HasUp = nil, false, !r.Target.Terminating
	r.Outcome.Reason, r.Outcome.Err, r.Outcome.Samples = target.Memory, errMemory, 0
}

func render(labels []target.Label) exposition.Labels {
	converted := make([]exposition.Label, len(labels))
	for i, l := range labels {
		converted[i] = exposition.Label(l)
	}
	return exposition.NewLabels(converted)
}
