package server

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// metrics holds the proxy's own metrics.
type metrics struct {
	outcomes       *prometheus.CounterVec // by reason
	targetDuration prometheus.Histogram
	targetBytes    prometheus.Counter
	samples        prometheus.Gauge
	conflicts      *prometheus.CounterVec // by kind
	scrapes        *prometheus.CounterVec // by outcome
	scrapeDuration prometheus.Histogram
	scrapeBytes    prometheus.Counter
	mergeDuration  prometheus.Histogram
	connections    prometheus.Gauge
	closed         *prometheus.CounterVec // by reason
}

func newMetrics(r prometheus.Registerer, d discovery, c *scrape.Client) metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "metrics_proxy_" + name, Help: help}, labels)
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "metrics_proxy_" + name, Help: help,
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		})
	}
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "metrics_proxy_" + name, Help: help}, value)
	}
	m := metrics{
		outcomes:       counter("target_scrapes_total", "Scrapes of targets, by reason; ok for a success.", "reason"),
		targetDuration: histogram("target_scrape_duration_seconds", "Duration of scrapes of targets, from the request until the response is validated. Targets that were not scraped are not included."),
		targetBytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "metrics_proxy_target_bytes_total", Help: "Bytes read of the response bodies of targets, decoded."}),
		samples:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "metrics_proxy_samples", Help: "Samples of targets in the last response."}),
		conflicts:      counter("conflicts_total", "Conflicts that the merge resolved, by kind: families written as untyped (type), labels renamed (label), and samples dropped because they are duplicates (duplicate), another up of the target (up), or have a timestamp that the response format cannot carry (timestamp).", "kind"),
		scrapes:        counter("scrapes_total", "Scrapes of this proxy, by outcome: complete response (whole), aborted by the client (broken), cut because its client reads slowly (slow), refused because of too many concurrent scrapes (refused), because the scrape is in a loop (loop), because its timeout is under 50 ms (bad_timeout), or before the pods are known (not_ready).", "outcome"),
		scrapeDuration: histogram("scrape_duration_seconds", "Duration of scrapes of this proxy, from the request to the end of the response."),
		scrapeBytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "metrics_proxy_scrape_bytes_total", Help: "Bytes of responses written, before compression."}),
		connections:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "metrics_proxy_connections", Help: "Open connections of clients."}),
		closed:         counter("connections_closed_total", "Connections of clients closed because of MAX_CONNECTIONS, by reason: idle for longest (idle), or new while all others were in use (refused).", "reason"),
		mergeDuration:  histogram("merge_duration_seconds", "Time to merge the responses of all targets, without writing the result."),
	}
	r.MustRegister(
		m.outcomes, m.targetDuration, m.targetBytes, m.samples, m.conflicts, m.scrapes, m.scrapeDuration, m.scrapeBytes, m.mergeDuration, m.connections, m.closed,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("lingering_targets", "Number of targets whose response is still being read although the deadline of the scrape has passed. They are not scraped until it has been read.", func() float64 { return float64(c.Lingering()) }),
		gauge("discovery_targets", "Number of discovered targets.", func() float64 { return float64(len(d.Targets())) }),
		gauge("discovery_ready", "1 if the first list of pods is complete, 0 otherwise.", func() float64 {
			if d.Ready() != nil {
				return 0
			}
			return 1
		}),
	)
	for _, reason := range target.Reasons() {
		m.outcomes.WithLabelValues(string(reason))
	}
	for _, kind := range exposition.ConflictKinds() {
		m.conflicts.WithLabelValues(string(kind))
	}
	for _, reason := range []string{"idle", "refused"} {
		m.closed.WithLabelValues(reason)
	}
	for _, outcome := range []string{"whole", "broken", "slow", "refused", "loop", "bad_timeout", "not_ready"} {
		m.scrapes.WithLabelValues(outcome)
	}
	return m
}

// gathered counts the outcomes, samples and conflicts of a scrape.
func (m *metrics) gathered(answer scrape.Answer) {
	samples := 0
	for _, r := range answer.Results {
		m.outcomes.WithLabelValues(string(r.Outcome.Reason)).Inc()
		if r.WasScraped() {
			m.targetDuration.Observe(r.Outcome.Duration.Seconds())
		}
		m.targetBytes.Add(float64(r.Outcome.Bytes))
		samples += r.Outcome.Samples
	}
	m.samples.Set(float64(samples))
	m.mergeDuration.Observe(answer.MergeTime.Seconds())
	for _, c := range answer.Conflicts() {
		m.conflicts.WithLabelValues(string(c.Kind)).Add(float64(c.Count))
	}
}

// served counts a response. err is the error of writing it, if any.
func (m *metrics) served(start time.Time, written int64, err error) {
	outcome := "whole"
	switch {
	case errors.Is(err, errSlowClient):
		outcome = "slow"
	case err != nil:
		outcome = "broken"
	}
	m.scrapes.WithLabelValues(outcome).Inc()
	m.scrapeBytes.Add(float64(written))
	m.scrapeDuration.Observe(time.Since(start).Seconds())
}
