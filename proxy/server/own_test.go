package server

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// counted returns the values of the own metrics by name and label values: counters, gauges,
// and the counts of histograms.
func counted(t *testing.T, s *Server) map[string]float64 {
	t.Helper()
	families, err := s.opts.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			key := family.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// scrapeOutcomes are the possible outcomes of a scrape of the proxy.
var scrapeOutcomes = []string{"whole", "broken", "slow", "refused", "loop", "bad_timeout", "not_ready"}

// wantScrapes checks the number of scrapes counted by outcome. A missing outcome means 0.
func wantScrapes(t *testing.T, s *Server, want map[string]float64) {
	t.Helper()
	got := counted(t, s)
	for _, outcome := range scrapeOutcomes {
		if n := got["metrics_proxy_scrapes_total "+outcome]; n != want[outcome] {
			t.Errorf("got %g scrapes counted as %s, want %g", n, outcome, want[outcome])
		}
	}
}

func TestOwnMetricsLint(t *testing.T) {
	s, _, _ := newServer(t)
	families, err := s.opts.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "metrics_proxy_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestSeriesFromTheStart checks that every series exists from the start with the value 0,
// because a rate needs a first value.
func TestSeriesFromTheStart(t *testing.T) {
	s, d, _ := newServer(t)
	d.problem = errors.New("not yet")
	var want []string
	reasons := target.Reasons()
	if len(reasons) < 13 {
		t.Errorf("got %d reasons, want at least 13", len(reasons))
	}
	for _, reason := range reasons {
		want = append(want, "metrics_proxy_target_scrapes_total "+string(reason))
	}
	kinds := exposition.ConflictKinds()
	if len(kinds) < 4 {
		t.Errorf("got %d kinds of conflicts, want at least 4", len(kinds))
	}
	for _, kind := range kinds {
		want = append(want, "metrics_proxy_conflicts_total "+string(kind))
	}
	for _, outcome := range scrapeOutcomes {
		want = append(want, "metrics_proxy_scrapes_total "+outcome)
	}
	want = append(want,
		"metrics_proxy_target_scrape_duration_seconds", "metrics_proxy_target_bytes_total",
		"metrics_proxy_samples", "metrics_proxy_scrape_duration_seconds", "metrics_proxy_scrape_bytes_total", "metrics_proxy_merge_duration_seconds",
		"metrics_proxy_discovery_targets", "metrics_proxy_discovery_ready", "metrics_proxy_lingering_targets",
		"metrics_proxy_connections", "metrics_proxy_connections_closed_total idle", "metrics_proxy_connections_closed_total refused",
	)
	got := counted(t, s)
	for _, series := range want {
		if value, ok := got[series]; !ok || value != 0 {
			t.Errorf("%s: got %g, exists: %t, want 0", series, value, ok)
		}
		delete(got, series)
	}
	for series := range got {
		if strings.HasPrefix(series, "metrics_proxy_") {
			t.Errorf("%s is not expected: is a reason missing in target.Reasons?", series)
		}
	}
	for _, series := range []string{"go_goroutines", "process_start_time_seconds"} {
		if got[series] == 0 {
			t.Errorf("%s is missing", series)
		}
	}
}

// TestCounts compares the own metrics with the results of several scrapes.
func TestCounts(t *testing.T) {
	const conflicts = "# TYPE m counter\nm 1\nm 1\nm 1\nn{pod=\"x\"} 1\nup 1\n"
	a, _ := newTarget(t, "a", conflicts)
	b, _ := newTarget(t, "b", "# TYPE m gauge\nm 2\n")
	bad, _ := newTarget(t, "bad", "<html>")
	s, _, _ := newServer(t, a, b, bad)
	written := get(t, s.Handler(), "/metrics", nil).Body.Len()
	get(t, s.Handler(), "/metrics", nil)
	for _, targets := range [][]*target.Target{nil, {a}} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		if err := s.scrape(brokenWriter{httptest.NewRecorder()}, r, func() []*target.Target { return targets }, metricsHistory(s)); err != nil {
			t.Error(err)
		}
	}
	got := counted(t, s)
	for series, want := range map[string]float64{
		"metrics_proxy_target_scrapes_total ok":        5,
		"metrics_proxy_target_scrapes_total parse":     2,
		"metrics_proxy_target_scrapes_total timeout":   0,
		"metrics_proxy_target_scrape_duration_seconds": 7,
		"metrics_proxy_target_bytes_total":             float64(3*len(conflicts) + 2*len("# TYPE m gauge\nm 2\n") + 2*len("<html>")),
		"metrics_proxy_samples":                        2,
		"metrics_proxy_conflicts_total type":           2,
		"metrics_proxy_conflicts_total label":          3,
		"metrics_proxy_conflicts_total duplicate":      6,
		"metrics_proxy_conflicts_total up":             3,
		"metrics_proxy_scrapes_total whole":            3, // the third one had nothing to write
		"metrics_proxy_scrapes_total broken":           1,
		"metrics_proxy_scrape_bytes_total":             float64(2 * written),
		"metrics_proxy_scrape_duration_seconds":        4,
		"metrics_proxy_merge_duration_seconds":         4,
		"metrics_proxy_discovery_targets":              3,
		"metrics_proxy_discovery_ready":                1,
	} {
		if got[series] != want {
			t.Errorf("%s is %g, want %g", series, got[series], want)
		}
	}
}

// brokenWriter is a client that has gone away when the response is written.
type brokenWriter struct{ http.ResponseWriter }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

// TestDurationsOfScraped checks that no duration is counted for a target that was not scraped
// because others held all slots until the deadline.
func TestDurationsOfScraped(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(srv.Close)
	s, _, log := newServer(t, &target.Target{ID: "a", URL: srv.URL}, &target.Target{ID: "b", URL: srv.URL}, malformed())
	s.opts.Client = scrape.New(scrape.Options{ConnectTimeout: time.Second, MaxInFlight: 1, BodySizeLimit: 1 << 20})
	get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {"0.2"}})
	got := counted(t, s)
	for series, want := range map[string]float64{
		"metrics_proxy_target_scrapes_total timeout":    2,
		"metrics_proxy_target_scrapes_total annotation": 1,
		"metrics_proxy_target_scrape_duration_seconds":  1,
	} {
		if got[series] != want {
			t.Errorf("%s is %g, want %g", series, got[series], want)
		}
	}
	if lines := strings.Join(log.take(), ""); strings.Count(lines, "was not scraped: MAX_IN_FLIGHT=1 other scrapes") != 1 {
		t.Errorf("logged %q, want one line with the reason why a target was not scraped", lines)
	}
}
