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
			Help: "Changes of pods that the API server told of, by event.",
		}, []string{"event"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "metrics_proxy_discovery_requests_total",
			Help: "Requests for pods to the API server, by verb and outcome.",
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

// registerStaleness exposes the staleness of a namespace: the greatest of its views.
func registerStaleness(r prometheus.Registerer, namespace string, views []*view) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "metrics_proxy_discovery_staleness_seconds",
		Help:        "For how long what is known of the pods of a namespace (empty: of all) may be out of date: 0 while they are watched, else since the last list or the end of the watch.",
		ConstLabels: prometheus.Labels{"namespace": namespace},
	}, func() float64 {
		var most time.Duration
		for _, v := range views {
			most = max(most, v.staleness())
		}
		return most.Seconds()
	}))
}
