package server

import (
	"net/http"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// route is one row of the route table. It scrapes if targets is set; otherwise it has a
// handler.
type route struct {
	pattern string // in the syntax of http.ServeMux
	handler http.HandlerFunc

	// targets selects the targets to scrape for a request, or returns why there are none.
	targets   func(*http.Request) (selection, *refusal)
	histories histories // of the selections of the route
}

// selection is the set of targets that one request scrapes.
type selection struct {
	name    string                  // key of its history, within the route; empty for all targets of the route
	targets func() []*target.Target // the current targets, in the order of the response
}

// Handler returns the handler of PORT, which serves the route table.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes {
		mux.Handle(r.pattern, s.handlerOf(r))
	}
	return mux
}

// handlerOf returns the handler of a route. If the route scrapes, Options.Guard wraps it.
// Probes are not guarded, because a kubelet has no credentials.
func (s *Server) handlerOf(r *route) http.Handler {
	if r.targets == nil {
		return r.handler
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		selected, refused := r.targets(req)
		if refused == nil {
			refused = s.scrape(w, req, selected.targets, r.histories.of(selected.name))
		}
		if refused != nil {
			s.refuse(w, &r.histories, *refused)
		}
	})
	if s.opts.Guard == nil {
		return h
	}
	return s.opts.Guard(h)
}
