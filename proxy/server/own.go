package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// metrics are the proxy's own.
type metrics struct {
	outcomes       *prometheus.CounterVec // by reason
	targetDuration prometheus.Histogram
	targetBytes    prometheus.Counter
	samples        prometheus.Gauge
	conflicts      *prometheus.CounterVec // by kind
	answers        *prometheus.CounterVec // by outcome
	answerDuration prometheus.Histogram
	answerBytes    prometheus.Counter
	mergeDuration  prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, d discovery) metrics {
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
		outcomes:       counter("target_scrapes_total", "Targets of scrapes, by what came of asking them.", "reason"),
		targetDuration: histogram("target_scrape_duration_seconds", "Time from the request to a target to its checked answer. Targets that were not asked are left out."),
		targetBytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "metrics_proxy_target_bytes_total", Help: "Bytes read of targets' bodies, decoded."}),
		samples:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "metrics_proxy_samples", Help: "Samples of targets in the last answer."}),
		conflicts:      counter("conflicts_total", "What merging had to resolve: families written as untyped (type), labels renamed (label), samples dropped as duplicates (duplicate), as another up of the target (up) or for a timestamp that the answer cannot carry (timestamp).", "kind"),
		answers:        counter("scrapes_total", "Scrapes of this proxy: answered whole, broken off by the client, refused because there were too many, in a circle (loop), or before the pods were known (not_ready).", "outcome"),
		answerDuration: histogram("scrape_duration_seconds", "Time from a request to the end of its answer."),
		answerBytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "metrics_proxy_scrape_bytes_total", Help: "Bytes of answers written."}),
		mergeDuration:  histogram("merge_duration_seconds", "Time to merge the answers of all targets, without writing them."),
	}
	r.MustRegister(
		m.outcomes, m.targetDuration, m.targetBytes, m.samples, m.conflicts, m.answers, m.answerDuration, m.answerBytes, m.mergeDuration,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("discovery_targets", "Targets known.", func() float64 { return float64(len(d.Targets())) }),
		gauge("discovery_ready", "1 once the first list of pods is complete, else 0.", func() float64 {
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
	for _, outcome := range []string{"whole", "broken", "refused", "loop", "not_ready"} {
		m.answers.WithLabelValues(outcome)
	}
	return m
}

// gathered counts what the targets gave.
func (m *metrics) gathered(answer scrape.Answer) {
	samples := 0
	for _, r := range answer.Results {
		m.outcomes.WithLabelValues(string(r.Outcome.Reason)).Inc()
		if r.WasAsked() {
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

// answered counts an answer that was written, or broke off with err.
func (m *metrics) answered(start time.Time, written int64, err error) {
	outcome := "whole"
	if err != nil {
		outcome = "broken"
	}
	m.answers.WithLabelValues(outcome).Inc()
	m.answerBytes.Add(float64(written))
	m.answerDuration.Observe(time.Since(start).Seconds())
}
