package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// scrape scrapes all targets once and prints the merged exposition. It returns an error if
// a target is down, or if the pods of a namespace cannot be listed.
func (p *program) scrape(ctx context.Context, stdout io.Writer) error {
	defer p.runSources(ctx)()
	if err := p.waitUntilKnown(ctx); err != nil {
		return err
	}
	errs := []error{p.sources.Ready()}
	deadline := time.Now().Add(p.scrapeTimeout)
	answer := p.client.Gather(ctx, scrape.Request{
		Targets: p.sources.Targets, Format: exposition.Negotiate(""), Deadline: func(scrape.Received) time.Time { return deadline },
	})
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if _, err := answer.WriteTo(stdout); err != nil {
		return fmt.Errorf("cannot write the exposition: %w", err)
	}
	for _, r := range answer.Results {
		if r.Outcome.Reason != target.OK && !r.Target.Terminating {
			errs = append(errs, fmt.Errorf("target is down: namespace=%s pod=%s reason=%s: %w", r.Target.Namespace, r.Target.Pod, r.Outcome.Reason, r.Outcome.Err))
		}
	}
	return errors.Join(errs...)
}

// waitUntilKnown waits until the targets are known, for scrapeTimeout at most.
func (p *program) waitUntilKnown(ctx context.Context) error {
	late := time.After(p.scrapeTimeout)
	for p.sources.Known() != nil {
		select {
		case <-ctx.Done():
			return interrupted(ctx)
		case <-late:
			return p.sources.Known()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func interrupted(ctx context.Context) error {
	return fmt.Errorf("interrupted: %w", context.Cause(ctx))
}
