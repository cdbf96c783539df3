package server

import (
	"fmt"
	"net/http"
)

// Healthy is the body of /-/healthy, by which the health check knows the proxy.
const Healthy = "metrics-proxy is healthy.\n"

// serveHealthy says that the process answers.
func (s *Server) serveHealthy(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprint(w, Healthy)
}

// serveReady says whether the targets are known, and why not; how many of them the last
// scrape found up; and why changes are not known at once.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if err := s.opts.Discovery.Ready(); err != nil {
		http.Error(w, "metrics-proxy is not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintf(w, "metrics-proxy is ready: %d targets", len(s.opts.Discovery.Targets()))
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	if last.isThere() {
		_, _ = fmt.Fprintf(w, ", %d of %d up at the last scrape", last.up, last.asked)
	}
	_, _ = fmt.Fprintln(w, ".")
	if err := s.opts.Discovery.Current(); err != nil {
		_, _ = fmt.Fprintln(w, err)
	}
}
