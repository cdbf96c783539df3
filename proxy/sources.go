package main

import (
	"context"
	"errors"
	"sync"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// source discovers targets while Run runs. Safe for concurrent use.
type source interface {
	// Run discovers targets until ctx ends.
	Run(ctx context.Context)
	// Targets returns the current targets, in the order of the merged exposition. The
	// caller must not modify the slice or the targets.
	Targets() []*target.Target
	// Known returns nil once the targets can be scraped, otherwise why the list of targets
	// is not complete yet. A forbidden namespace can be missing even if it returns nil.
	Known() error
	// Ready returns nil if no targets are missing, otherwise why they are.
	Ready() error
	// Current returns nil if changes of targets are detected immediately, otherwise why
	// they are not.
	Current() error
}

// sources combines several sources into one.
type sources []source

func (s sources) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, one := range s {
		wg.Go(func() { one.Run(ctx) })
	}
	wg.Wait()
}

func (s sources) Targets() []*target.Target {
	if len(s) == 1 { // the targets of one source are already distinct
		return s[0].Targets()
	}
	var all []*target.Target
	for _, one := range s {
		all = append(all, one.Targets()...)
	}
	return target.Distinct(all)
}

func (s sources) Known() error   { return s.join(source.Known) }
func (s sources) Ready() error   { return s.join(source.Ready) }
func (s sources) Current() error { return s.join(source.Current) }

func (s sources) join(get func(source) error) error {
	var errs []error
	for _, one := range s {
		errs = append(errs, get(one))
	}
	return errors.Join(errs...)
}
