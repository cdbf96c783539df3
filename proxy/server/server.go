// Package server serves HTTP requests: the merged exposition, the probes, and the proxy's own
// metrics.
package server

import (
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// discovery is the source of targets. It must be safe for concurrent use.
type discovery interface {
	// Targets returns the current targets, in the order of a response. The slice and the
	// targets are immutable.
	Targets() []*target.Target
	// Known returns nil once the targets can be scraped, otherwise why they cannot.
	Known() error
	// Ready returns nil if no targets are missing, otherwise why they are.
	Ready() error
	// Current returns nil if changes of targets are detected immediately, otherwise why they
	// are not.
	Current() error
}

// Options configure a Server.
type Options struct {
	Discovery     discovery
	Client        *scrape.Client
	Guard         func(http.Handler) http.Handler // wraps each route that scrapes, but no probe; nil = none
	ScrapeTimeout time.Duration                   // maximum time for the targets of one scrape
	Workers       int                             // scrapes served concurrently; values below 8 count as 8
	MemoryLimit   int64                           // of the process, in bytes; 0 = none
	Instance      string                          // ID in scrape.ViaHeader, unique to this process
	Logger        *slog.Logger
	Registry      *prometheus.Registry // registry of the proxy's own metrics
}

// Server holds the state that the routes share.
type Server struct {
	opts     Options
	routes   []*route
	metrics  metrics
	slots    chan struct{} // one element for each scrape in progress, until its answer is merged
	encoders encoders
	writers  *writers
	nesting  *nesting
	waiting  waiting
	news     news
	seed     maphash.Seed // of the hashes of conflicts

	slotsOfTargets chan struct{} // one element for each of them from the address of a target
}

// New creates a server and registers its metrics.
func New(opts Options) *Server {
	workers := max(opts.Workers, 8)
	s := &Server{
		opts:    opts,
		metrics: newMetrics(opts.Registry, opts.Discovery, opts.Client),
		slots:   make(chan struct{}, workers),
		writers: &writers{most: 4 * workers, memory: opts.MemoryLimit / 4, all: map[*response]struct{}{}},
		nesting: newNesting(),
		waiting: waiting{most: 4 * workers, scrapes: map[netip.Addr]int{}},
		seed:    maphash.MakeSeed(),

		slotsOfTargets: make(chan struct{}, workers/2),
	}
	metrics := s.metricsRoute()
	s.routes = []*route{metrics, healthyRoute(), s.readyRoute(&metrics.histories)}
	return s
}

// OwnHandler returns the handler of METRICS_HTTP_PORT, which serves the proxy's own metrics.
func (s *Server) OwnHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{Registry: s.opts.Registry}))
	return mux
}
