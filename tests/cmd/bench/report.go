package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// writeHead writes the head of the table.
func writeHead(w io.Writer) error {
	_, err := fmt.Fprint(w, `
| row | MB in | MB out | CPU ms | CPU ms (join) | ratio | wall ms, p50 / p99 | wall ms (join) | peak RSS MiB | peak RSS MiB (join) | CPU ms (expfmt) | ratio to join | wall ms (expfmt) | peak RSS MiB (expfmt) |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`)
	return err
}

// writeResult writes a row of the table. The programs are metrics-proxy, join and
// optionally expfmt.
func writeResult(w io.Writer, r result) error {
	proxy, join := r.Programs[0], r.Programs[1]
	_, err := fmt.Fprintf(w, "| %s | %.1f | %.1f | %s | %s | %.2f | %s | %s | %.0f | %.0f |",
		r.Row, float64(r.BytesIn)/1e6, float64(proxy.Bytes[0])/1e6,
		short(median(proxy.CPU)), short(median(join.CPU)), median(proxy.CPU)/median(join.CPU),
		proxy.walls(), join.walls(), proxy.PeakRSS, join.PeakRSS)
	if err != nil {
		return err
	}
	if len(r.Programs) < 3 {
		_, err = fmt.Fprintln(w, " | | | |")
		return err
	}
	expfmt := r.Programs[2]
	_, err = fmt.Fprintf(w, " %s | %.2f | %s | %.0f |\n",
		short(median(expfmt.CPU)), median(expfmt.CPU)/median(join.CPU), expfmt.walls(), expfmt.PeakRSS)
	return err
}

func (m measurement) walls() string {
	return short(median(m.Wall)) + " / " + short(quantile(m.Wall, 0.99))
}

// short omits digits that are not significant.
func short(ms float64) string {
	if ms < 100 {
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile returns the q-quantile by the nearest-rank method; with fewer than 100 values the
// 99th percentile is the maximum. values must not be empty.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// writeRaw writes all measurements as JSON.
func writeRaw(path string, results []result) error {
	content, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the raw measurements: %w", err)
	}
	if err := os.WriteFile(path, append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot write the raw measurements: %w", err)
	}
	return nil
}
