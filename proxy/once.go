package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// scrape scrapes all targets once and prints the answer. That a target is down is
// an error.
func (p *program) scrape(ctx context.Context, s config.Scrape, stdout io.Writer) error {
	follow, cancel := context.WithCancel(ctx)
	defer cancel()
	go p.pods.Run(follow)
	if err := p.waitUntilReady(ctx); err != nil {
		return err
	}
	deadline := time.Now().Add(time.Duration(s.Timeout))
	answer := p.client.Gather(ctx, p.pods.Targets(), func(int64) time.Time { return deadline })
	if _, err := answer.WriteTo(stdout); err != nil {
		return fmt.Errorf("cannot write the answer: %w", err)
	}
	var errs []error
	for _, r := range answer.Results {
		if r.Outcome.Reason != target.OK {
			errs = append(errs, fmt.Errorf("target is down: namespace %s, pod %s, %s: %s: %w", r.Target.Namespace, r.Target.Pod, r.Target.URL, r.Outcome.Reason, r.Outcome.Err))
		}
	}
	return errors.Join(errs...)
}

// waitUntilReady waits for the first list of pods as long as for a scrape.
func (p *program) waitUntilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.scrapeTimeout)
	defer cancel()
	for p.pods.Ready() != nil {
		select {
		case <-ctx.Done():
			return p.pods.Ready()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
