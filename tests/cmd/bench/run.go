package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// A result holds the measurements of a row.
type result struct {
	Row      string        `json:"row"`
	Targets  int           `json:"targets"`
	BytesIn  int           `json:"bytes_in"` // of all bodies
	Samples  int           `json:"samples"`  // of all bodies
	Programs []measurement `json:"programs"`
}

// runRow starts the programs of a row, checks their responses, measures them, and stops
// them.
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
	debug.FreeOSMemory() // so that the garbage of the check is not collected during the measurement
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

// scrapes returns the number of measured scrapes, which is limited for large bodies.
func (r row) scrapes(wanted, bytes int) int {
	if bytes > 100e6 {
		return min(wanted, 8)
	}
	return wanted
}
