package main

import (
	"context"
	"errors"
	"sync"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// source finds targets, for as long as Run does.
type source interface {
	Run(ctx context.Context) // until ctx ends

	// Targets returns the targets known now, in the order of the response. Nobody may
	// change what it returns.
	Targets() []*target.Target
	// Known returns why a response would lack targets that exist, or nil.
	Known() error
	// Ready returns why targets are missing, or nil.
	Ready() error
	// Current returns why changes of targets are not known at once, or nil.
	Current() error
}

// sources are several sources as one.
type sources []source

func (s sources) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, one := range s {
		wg.Go(func() { one.Run(ctx) })
	}
	wg.Wait()
}

func (s sources) Targets() []*target.Target {
	if len(s) == 1 { // a source's own targets are distinct
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
