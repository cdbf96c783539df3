package server

import (
	"fmt"
	"net/http"
)

// readyRoute returns the route /-/ready: 200 once the first list of targets is complete,
// otherwise 503 with the reason. The body reports how many targets were up at the last scrape
// in scraped, and why changes of targets are not detected immediately, if so.
func (s *Server) readyRoute(scraped *histories) *route {
	return &route{pattern: "GET /-/ready", handler: func(w http.ResponseWriter, _ *http.Request) {
		if err := s.opts.Discovery.Ready(); err != nil {
			http.Error(w, "metrics-proxy is not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintf(w, "metrics-proxy is ready: %d targets", len(s.opts.Discovery.Targets()))
		if up, down, ok := scraped.of("").counts(); ok {
			_, _ = fmt.Fprintf(w, ", %d of %d up at the last scrape", up, up+down)
		}
		_, _ = fmt.Fprintln(w, ".")
		if err := s.opts.Discovery.Current(); err != nil {
			_, _ = fmt.Fprintln(w, err)
		}
	}}
}
