package main

import (
	"os"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	values := []float64{3, 1, 2, 5, 4}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
	if got := median([]float64{7}); got != 7 {
		t.Errorf("median is %g", got)
	}
}

func TestRows(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rows() {
		if names[r.name] {
			t.Errorf("duplicate row %s", r.name)
		}
		names[r.name] = true
		if r.expfmt && (r.openMetrics || r.accept != acceptText) {
			t.Errorf("%s: expfmt supports only the text format", r.name)
		}
	}
	if _, err := choose(rows(), "none such"); err == nil {
		t.Error("no error for a pattern that matches no row")
	}
}

// TestProcessFigures measures the test process itself.
func TestProcessFigures(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; {
	}
	after, err := cpuTime(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("CPU time went from %s to %s, error %v", before, after, err)
	}
	if rss, err := peakRSS(os.Getpid()); err != nil || rss < 1 {
		t.Errorf("peak RSS is %g MiB, error %v", rss, err)
	}
	const none = 1<<22 + 1 // greater than any PID of Linux
	if _, err := cpuTime(none); err == nil {
		t.Error("no error for a process that does not exist")
	}
}
