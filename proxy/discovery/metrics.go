package discovery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	events   *prometheus.CounterVec // by event
	requests *prometheus.CounterVec // by verb and outcome
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "metrics_proxy_discovery_events_total",
			Help: "Pod events received from the API server, by event type.",
		}, []string{"event"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "metrics_proxy_discovery_requests_total",
			Help: "List and watch requests for pods to the API server, by verb and outcome.",
		}, []string{"verb", "outcome"}),
	}
	r.MustRegister(m.events, m.requests)
	for _, event := range []string{"add", "update", "delete"} {
		m.events.WithLabelValues(event)
	}
	for _, verb := range []string{"list", "watch"} {
		m.requests.WithLabelValues(verb, "ok")
		m.requests.WithLabelValues(verb, "error")
	}
	return m
}

// registerStaleness registers the staleness of a namespace, which is the maximum of its views.
func registerStaleness(r prometheus.Registerer, namespace string, views []*view) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "metrics_proxy_discovery_staleness_seconds",
		Help:        "Seconds for which the targets of a namespace (empty for all namespaces) may have been out of date: 0 while its pods are watched, otherwise the time since the last list or the end of the watch.",
		ConstLabels: prometheus.Labels{"namespace": namespace},
	}, func() float64 {
		var most time.Duration
		for _, v := range views {
			most = max(most, v.staleness())
		}
		return most.Seconds()
	}))
}
