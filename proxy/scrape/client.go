// Package scrape asks many targets at once and merges what they answer. It knows
// nothing of Kubernetes, nor of who wants the answer.
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

// Options bound what asking may cost.
type Options struct {
	ConnectTimeout time.Duration
	MaxInFlight    int    // targets asked at a time; 0 = all
	Workers        int    // bodies read at a time; 0 = 8 per core, less than 8 counts as 8
	BodySizeLimit  int64  // bytes, on the wire and decoded
	SampleLimit    int    // of one target; 0 = none
	MemoryLimit    int64  // of the process, in bytes; targets are shed to stay within it; 0 = none
	Fallback       string // Content-Type to assume where a target's is missing or unknown; empty = none
	UserAgent      string
	TLS            *tls.Config // for targets with https, but for the server's name; nil = the system's roots
}

// Client asks targets. Safe for concurrent use; scrapes share its bounds.
type Client struct {
	opts     Options
	usual    target.Profile
	memory   *memory
	reader   *exposition.Reader
	inFlight chan struct{} // nil = unbounded
	reading  chan struct{}
}

// New makes a client. It keeps connections to targets open between scrapes.
func New(opts Options) *Client {
	c := &Client{opts: opts, reader: exposition.NewReader(shapesFor(opts.MemoryLimit)), reading: make(chan struct{}, workers(opts.Workers, opts.MemoryLimit))}
	c.memory = newMemory(opts.MemoryLimit, cap(c.reading), c.reader)
	if opts.MaxInFlight > 0 {
		c.inFlight = make(chan struct{}, opts.MaxInFlight)
	}
	c.usual = target.Profile{Transport: NewTransport(opts.ConnectTimeout, opts.TLS), BodySizeLimit: opts.BodySizeLimit, SampleLimit: opts.SampleLimit}
	return c
}

// NewTransport makes the transport of a profile. There is no http.Client around it: a
// redirect could lead anywhere. The config is for targets with https, but for the server's
// name; nil = the system's roots.
func NewTransport(connectTimeout time.Duration, config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		DialTLSContext:         tlsDialer(dialer.DialContext, config, connectTimeout),
		DisableCompression:     true, // decoding costs more than the merge, and is bounded here
		MaxIdleConnsPerHost:    2,    // two Prometheis may scrape at once
		IdleConnTimeout:        5 * time.Minute,
		ReadBufferSize:         1 << 10, // for headers: bodies are read past it
		WriteBufferSize:        1 << 10,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// profileOf is the profile of a target with all fields set that the usual one sets.
func (c *Client) profileOf(t *target.Target) target.Profile {
	if t.Profile == nil {
		return c.usual
	}
	p := *t.Profile
	if p.Transport == nil {
		p.Transport = c.usual.Transport
	}
	p.BodySizeLimit = cmp.Or(p.BodySizeLimit, c.usual.BodySizeLimit)
	p.SampleLimit = cmp.Or(p.SampleLimit, c.usual.SampleLimit)
	return p
}

// shapesFor is how many bytes of shapes may be kept.
func shapesFor(memoryLimit int64) int {
	const most = 32 << 20
	if memoryLimit == 0 {
		return most
	}
	return int(min(most, memoryLimit/8))
}

// dial makes a connection.
type dial func(ctx context.Context, network, address string) (net.Conn, error)

// tlsDialer makes errors of the handshake known as such. Past its own timeout the
// handshake has failed: the transport lets it go on when nobody waits for it.
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
		ofTarget.ServerName, ofTarget.MinVersion = host, tls.VersionTLS12
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

// Result is what one target gave.
type Result struct {
	Target  *target.Target
	Outcome target.Outcome
	part    exposition.Part
}

// Answer is what all targets gave, in their order.
type Answer struct {
	*exposition.Merged
	Results   []Result
	MergeTime time.Duration // that merging took, without writing
	ledger    *ledger
}

// Release gives the memory of the bodies back, when the answer has been written.
func (a Answer) Release() {
	a.Merged.Release()
	a.ledger.close()
}

// Deadline says until when to wait for targets, given the bytes that have come from
// all of them so far. It may fall as the bytes grow, never rise.
type Deadline func(bytes int64) time.Time

// Request is one scrape of many targets.
type Request struct {
	// Targets returns the targets known at the time. It is called before they are scraped
	// and again after the last response: see Gather.
	Targets  func() []*target.Target
	Format   exposition.Format // of the answer
	Deadline Deadline
	Via      []string // instances that the scrape has passed: see ViaHeader
}

// Gather scrapes all targets at once, waits until each has responded or the deadline has
// come or ctx has ended, and merges the responses in the format. A target that fails costs
// no other target a sample. The response of a target whose owner is not known any more at
// the end, or has another address then, is dropped: the address may be another pod's.
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

// stillKnown returns the results of those targets whose owners are known now, at the same
// address. A target without an owner keeps its result.
func stillKnown(results []Result, known []*target.Target) []Result {
	if slices.EqualFunc(results, known, func(r Result, t *target.Target) bool { return r.Target == t }) {
		return results
	}
	byOwner := make(map[string]*target.Target, len(known))
	for _, t := range known {
		byOwner[t.Owner] = t
	}
	var still []Result
	for _, r := range results {
		if r.Target.Owner == "" {
			still = append(still, r)
			continue
		}
		t := byOwner[r.Target.Owner]
		if t == nil || t.Address != r.Target.Address {
			if r.part.Body != nil {
				r.part.Body.Release()
			}
			continue
		}
		if t.Terminating && !r.Target.Terminating { // that it did not answer is no news any more
			terminating := *r.Target
			terminating.Terminating = true
			r.Target, r.part.HasUp = &terminating, r.part.Up
		}
		still = append(still, r)
	}
	return still
}

// wait waits for d, but only as long as the deadline may take to move, and says
// whether to go on waiting.
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

// scrape asks one target. It has an up unless its labels are another target's, or
// it is going away and that is why it did not answer.
func (c *Client) scrape(ctx context.Context, t *target.Target, format exposition.Format, header http.Header, reserve func(int64) error) Result {
	r := Result{Target: t, part: exposition.Part{Labels: render(t.Labels)}}
	start := time.Now()
	var err error
	if t.Problem != nil {
		r.Outcome.Reason, err = t.Problem.Reason, t.Problem.Err
	} else {
		r.part.Body, r.Outcome.Bytes, err = c.ask(ctx, t, header, exposition.Options{
			Format: format, Fallback: c.opts.Fallback, Labels: r.part.Labels, Reserve: reserve,
		})
		r.Outcome.Reason = reasonOf(err)
		switch r.Outcome.Reason {
		case target.Timeout:
			err = fmt.Errorf("no whole answer by the deadline: %w", err)
		case target.Incomplete:
			err = fmt.Errorf("no whole HTTP answer: %w", err)
		}
		if err != nil {
			err = shortError{err}
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

// shed makes it that of a target that is down for want of memory.
func (r *Result) shed() {
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
