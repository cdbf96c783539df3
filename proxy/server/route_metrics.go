package server

import "net/http"

// metricsRoute returns the route /metrics: the merged exposition of all targets.
func (s *Server) metricsRoute() *route {
	return &route{pattern: "GET /metrics", targets: func(*http.Request) (selection, *refusal) {
		if err := s.opts.Discovery.Known(); err != nil {
			// A response without the targets would end all their series.
			return selection{}, &refusal{http.StatusServiceUnavailable, "not_ready", "not ready: " + err.Error()}
		}
		return selection{targets: s.opts.Discovery.Targets}, nil
	}}
}
