package server

import "net/http"

// metricsRoute is /metrics: all targets, merged.
func (s *Server) metricsRoute() route {
	return route{pattern: "GET /metrics", histories: newHistories(), targets: func(*http.Request) (selection, error) {
		if err := s.opts.Discovery.Known(); err != nil {
			// A response without the targets would end all their series.
			return selection{}, refusalError{http.StatusServiceUnavailable, "not_ready", "no answer yet: " + err.Error()}
		}
		return selection{targets: s.opts.Discovery.Targets}, nil
	}}
}
