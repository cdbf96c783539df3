package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"
)

// A load describes the bodies of the targets of a row. The runner writes it to a file for
// the exporter, and both generate the same bodies from it.
type load struct {
	Bases       []string  `json:"bases"` // paths of bodies in the text format; target i uses Bases[i % len(Bases)]
	Targets     int       `json:"targets"`
	Variation   variation `json:"variation"`
	OpenMetrics bool      `json:"openmetrics"`
}

// totals are summed over all bodies of a load.
type totals struct{ bytes, samples int }

// bodies generates the body of each target. Targets with the same body share the slice.
func (l load) bodies() ([][]byte, error) {
	bases := make([][]byte, len(l.Bases))
	for i, path := range l.Bases {
		var err error
		if bases[i], err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("cannot generate the bodies: %w", err)
		}
	}
	bodies := make([][]byte, l.Targets)
	distinct := l.Targets
	if l.Variation == (variation{}) {
		distinct = min(len(bases), l.Targets)
	}
	errs := make([]error, distinct)
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i := range distinct {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			bodies[i], errs[i] = l.body(bases[i%len(bases)], i)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("cannot generate the bodies: %w", err)
		}
	}
	for i := distinct; i < len(bodies); i++ {
		bodies[i] = bodies[i%len(bases)]
	}
	return bodies, nil
}

func (l load) body(base []byte, target int) ([]byte, error) {
	body, err := l.Variation.vary(base, target)
	if err != nil || !l.OpenMetrics {
		return body, err
	}
	return toOpenMetrics(body)
}

// totals generates the bodies and counts their bytes and samples.
func (l load) totals() (totals, error) {
	bodies, err := l.bodies()
	if err != nil {
		return totals{}, err
	}
	var t totals
	for _, body := range bodies {
		t.bytes += len(body)
		t.samples += countSamples(body)
	}
	return t, nil
}

// contentType returns the Content-Type of the bodies.
func (l load) contentType() string {
	if l.OpenMetrics {
		return "application/openmetrics-text; version=1.0.0; charset=utf-8"
	}
	return "text/plain; version=0.0.4; charset=utf-8"
}

func (l load) write(path string) error {
	content, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("cannot write the load: %w", err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("cannot write the load: %w", err)
	}
	return nil
}

func readLoad(path string) (load, error) {
	var l load
	content, err := os.ReadFile(path)
	if err != nil {
		return l, fmt.Errorf("cannot read the load: %w", err)
	}
	if err := json.Unmarshal(content, &l); err != nil {
		return l, fmt.Errorf("cannot read the load: %w", err)
	}
	return l, nil
}
