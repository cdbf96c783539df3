package main

import (
	"context"
	"errors"
	"slices"
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

// sources combines several sources into one. A response needs the targets of all of them: it is
// refused until each source knows its targets, because a response without those of one would
// end their series. Safe for concurrent use.
type sources struct {
	list []source

	mu     sync.Mutex // guards the fields below
	parts  [][]*target.Target
	merged []*target.Target // of parts
}

func (s *sources) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, one := range s.list {
		wg.Go(func() { one.Run(ctx) })
	}
	wg.Wait()
}

// Targets merges the targets of the sources anew only if one of them has changed.
func (s *sources) Targets() []*target.Target {
	if len(s.list) == 1 { // the targets of one source are already distinct
		return s.list[0].Targets()
	}
	var parts [][]*target.Target
	for _, one := range s.list {
		parts = append(parts, one.Targets())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.EqualFunc(parts, s.parts, isSame) {
		s.parts, s.merged = parts, target.Distinct(slices.Concat(parts...))
	}
	return s.merged
}

// isSame reports whether two snapshots of targets are the same slice.
func isSame(a, b []*target.Target) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func (s *sources) Known() error   { return s.join(source.Known) }
func (s *sources) Ready() error   { return s.join(source.Ready) }
func (s *sources) Current() error { return s.join(source.Current) }

func (s *sources) join(get func(source) error) error {
	var errs []error
	for _, one := range s.list {
		errs = append(errs, get(one))
	}
	return errors.Join(errs...)
}
