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

// serveReady says whether the targets are known, and why not.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if err := s.opts.Discovery.Ready(); err != nil {
		http.Error(w, "metrics-proxy is not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintf(w, "metrics-proxy is ready: %d targets.\n", len(s.opts.Discovery.Targets()))
}
