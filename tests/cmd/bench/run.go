package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// A result is what was measured for a row.
type result struct {
	Row      string        `json:"row"`
	Targets  int           `json:"targets"`
	BytesIn  int           `json:"bytes_in"` // of all bodies
	Samples  int           `json:"samples"`  // of all bodies
	Programs []measurement `json:"programs"`
}

// runRow starts the programs of a row, checks their answers, measures and stops them.
func (b *bench) runRow(ctx context.Context, r row, scrapes int) (res result, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot measure %q: %w", r.name, err)
		}
	}()
	l := load{Targets: r.targets, Variation: r.variation, OpenMetrics: r.openMetrics}
	for _, base := range r.bases {
		l.Bases = append(l.Bases, b.bases[base])
	}
	want, err := l.totals()
	if err != nil {
		return result{}, err
	}
	exporter, programs, err := b.startPrograms(ctx, r, l)
	defer func() { err = errors.Join(err, stopAll(exporter, programs)) }()
	if err != nil {
		return result{}, err
	}
	c := newClient(r)
	defer c.http.CloseIdleConnections()
	for _, p := range programs {
		if err := check(ctx, c, p, r, want); err != nil {
			return result{}, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	debug.FreeOSMemory() // what the check has read, so that it is not collected while measuring
	measurements, err := measure(ctx, c, programs, r.scrapes(scrapes, want.bytes))
	if err != nil {
		return result{}, err
	}
	for _, p := range programs {
		if p.proxy == nil {
			continue
		}
		if err := checkOutcomes(ctx, p.proxy); err != nil {
			return result{}, err
		}
	}
	return result{Row: r.name, Targets: r.targets, BytesIn: want.bytes, Samples: want.samples, Programs: measurements}, nil
}

// scrapes is how often the row is measured: less often where there is a lot to move.
func (r row) scrapes(wanted, bytes int) int {
	if bytes > 100e6 {
		return min(wanted, 8)
	}
	return wanted
}
