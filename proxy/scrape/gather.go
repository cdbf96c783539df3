package scrape

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

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

// Received is what has been received from all targets so far.
type Received struct {
	Bytes   int64         // of the bodies, decoded
	Merging time.Duration // expected time to merge and write their families: see exposition.Body.MergeTime
}

// Deadline returns the time until which to wait for targets. With more received, it must not
// return a later time.
type Deadline func(Received) time.Time

// Request is one scrape of many targets.
type Request struct {
	// Targets returns the current targets. It is called before they are scraped and again
	// after the last response: see Gather.
	Targets  func() []*target.Target
	Format   exposition.Format // of the merged exposition
	Deadline Deadline
	Via      []string // proxy instances that the scrape has passed through: see ViaHeader

	// Visit is called before a target is scraped, and the function that it returns afterwards.
	// The target may respond until the context ends. Both may be called concurrently. May be nil.
	Visit func(context.Context, *target.Target) (leave func())
}

// Gather scrapes all targets concurrently and merges their responses in the requested format.
// It waits until each target has responded, the deadline has passed or ctx has ended, even if
// a response is still being read then: see ledger.take. A target that fails does not affect the samples of others. After the last response, the
// targets are looked up again. The response of a target whose owner is gone or has another
// address is dropped, because it may come from another pod. The caller must call Release.
func (c *Client) Gather(ctx context.Context, req Request) Answer {
	start, targets := time.Now(), req.Targets()
	ctx, cancel := context.WithDeadline(ctx, req.Deadline(Received{}))
	defer cancel()
	var bytes, merging atomic.Int64
	go func() { // ends with ctx
		for wait(ctx, time.Until(req.Deadline(Received{bytes.Load(), time.Duration(merging.Load())}))) {
		}
		cancel()
	}()
	header := c.header(ctx, req)
	ledger := c.memory.open(targets)
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			if req.Visit != nil {
				defer req.Visit(ctx, t)()
			}
			result := c.scrape(ctx, t, req.Format, header, func(bytes int64) error { return ledger.reserve(i, bytes) })
			bytes.Add(result.Outcome.Bytes)
			if body := result.part.Body; body != nil {
				merging.Add(int64(body.MergeTime()))
			}
			ledger.store(i, result)
		})
	}
	await(ctx, &wg)
	results := ledger.take(func(t *target.Target) Result {
		return resultOf(t, render(t.Labels), start, nil, 0, deadlineError{errUnread})
	})
	c.memory.tune()
	results = stillKnown(results, req.Targets())
	parts := make([]exposition.Part, len(results))
	for i := range results {
		parts[i] = results[i].part
	}
	gathered := time.Now()
	merged := exposition.Merge(req.Format, parts)
	return Answer{Merged: merged, Results: results, MergeTime: time.Since(gathered), ledger: ledger}
}

// grace is how long Gather waits after the deadline for responses that are being read.
const grace = 10 * time.Millisecond

// await waits for the goroutines until ctx ends and, after that, for grace.
func await(ctx context.Context, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(grace):
	}
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

// scrape scrapes one target. The result has no up sample if another target has the same labels.
func (c *Client) scrape(ctx context.Context, t *target.Target, format exposition.Format, header http.Header, reserve func(int64) error) Result {
	labels, start := render(t.Labels), time.Now()
	switch {
	case t.Problem != nil:
		return Result{
			Target:  t,
			Outcome: target.Outcome{Reason: t.Problem.Reason, Err: t.Problem.Err, Duration: time.Since(start)},
			part:    exposition.Part{Labels: labels, HasUp: !t.Terminating && t.Problem.Reason != target.Identity},
		}
	case c.memory.lingers(t):
		return resultOf(t, labels, start, nil, 0, errLingers)
	}
	body, bytes, err := c.fetchSafely(ctx, t, header, exposition.Options{
		Format: format, Fallback: c.opts.Fallback, Labels: labels, Reserve: reserve,
	})
	return resultOf(t, labels, start, body, bytes, err)
}

// resultOf returns the result of a target by what fetch returned. It has an up sample, unless
// the target is terminating and the scrape failed.
func resultOf(t *target.Target, labels exposition.Labels, start time.Time, body *exposition.Body, bytes int64, err error) Result {
	r := Result{Target: t, part: exposition.Part{Labels: labels, Body: body, Up: err == nil, HasUp: err == nil || !t.Terminating}}
	r.Outcome = target.Outcome{Reason: reasonOf(err), Bytes: bytes, Duration: time.Since(start)}
	if body != nil {
		r.Outcome.Samples = body.Samples()
	}
	switch r.Outcome.Reason {
	case target.Timeout:
		err = fmt.Errorf("no complete response by the deadline: %w", err)
	case target.Incomplete:
		err = fmt.Errorf("incomplete HTTP response: %w", err)
	}
	if err != nil {
		r.Outcome.Err = truncatedError{err}
	}
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
