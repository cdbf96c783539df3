// Package server answers HTTP requests: the merged scrape, the probes, and the
// proxy's own metrics.
package server

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// discovery is what the server needs to know of targets.
type discovery interface {
	// Targets returns the targets known now, in the order of an answer. It is
	// immutable.
	Targets() []*target.Target
	// Known returns why no target can be known yet, or nil.
	Known() error
	// Ready returns why targets are missing, or nil.
	Ready() error
	// Current returns why changes of targets are not known at once, or nil.
	Current() error
}

// Options say what to serve.
type Options struct {
	Discovery     discovery
	Client        *scrape.Client
	Guard         func(http.Handler) http.Handler // wraps each route that scrapes, and no probe; nil = none
	ScrapeTimeout time.Duration                   // for the targets of one scrape, at most
	Workers       int                             // scrapes answered at a time; less than 8 counts as 8
	Instance      string                          // unique to this process
	Logger        *slog.Logger
	Registry      *prometheus.Registry // of the proxy's own metrics
}

// Server holds what the routes share.
type Server struct {
	opts      Options
	routes    []route
	metrics   metrics
	answering chan struct{} // a place for each scrape that is being answered
	encoders  encoders
}

// New makes a server. It registers its metrics.
func New(opts Options) *Server {
	s := &Server{
		opts:      opts,
		metrics:   newMetrics(opts.Registry, opts.Discovery),
		answering: make(chan struct{}, max(opts.Workers, 8)),
	}
	metrics := s.metricsRoute()
	s.routes = []route{metrics, healthyRoute(), s.readyRoute(metrics.histories)}
	return s
}

// OwnHandler serves METRICS_HTTP_PORT: the proxy's own metrics.
func (s *Server) OwnHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{Registry: s.opts.Registry}))
	return mux
}
