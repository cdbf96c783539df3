// Package server answers HTTP requests: the merged scrape, the probes, and the
// proxy's own metrics.
package server

import (
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
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
	ScrapeTimeout time.Duration // for the targets of one scrape, at most
	Workers       int           // scrapes answered at a time; less than 8 counts as 8
	Instance      string        // unique to this process
	Logger        *slog.Logger
	Registry      *prometheus.Registry // of the proxy's own metrics
}

// Server holds what the routes share.
type Server struct {
	opts      Options
	metrics   metrics
	answering chan struct{} // a place for each scrape that is being answered
	writeTime atomic.Int64  // nanoseconds that recent answers took to be merged and written

	encoders encoders

	mu        sync.Mutex // guards what follows
	last      lastScrape
	conflicts map[exposition.Format]map[conflict]bool // of the last scrape in each format, of which there are few
	refusals  map[string]refusal                      // by outcome
}

// New makes a server. It registers its metrics.
func New(opts Options) *Server {
	return &Server{
		opts:      opts,
		metrics:   newMetrics(opts.Registry, opts.Discovery),
		answering: make(chan struct{}, max(opts.Workers, 8)),
		conflicts: map[exposition.Format]map[conflict]bool{},
		refusals:  map[string]refusal{},
	}
}

// Handler is the route table of PORT.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.serveMetrics)
	mux.HandleFunc("GET /-/healthy", s.serveHealthy)
	mux.HandleFunc("GET /-/ready", s.serveReady)
	return mux
}

// OwnHandler is the route table of METRICS_HTTP_PORT.
func (s *Server) OwnHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{Registry: s.opts.Registry}))
	return mux
}
