package server

import (
	"errors"
	"net/http"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// route is one row of the route table. It scrapes if targets is set; else it has a
// handler.
type route struct {
	pattern string // of http.ServeMux
	handler http.HandlerFunc

	// targets selects what to scrape for a request. A refusalError is the response
	// otherwise.
	targets   func(*http.Request) (selection, error)
	histories *histories // of its selections
}

// selection is what one request wants scraped.
type selection struct {
	name    string                  // what is learned from scrapes is kept apart by it, within the route
	targets func() []*target.Target // known now, in the order of the response
}

// Handler serves the route table of PORT.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes {
		mux.Handle(r.pattern, s.handlerOf(r))
	}
	return mux
}

// handlerOf guards a route that scrapes. Probes are not guarded: a kubelet has no
// credentials.
func (s *Server) handlerOf(r route) http.Handler {
	if r.targets == nil {
		return r.handler
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		selected, err := r.targets(req)
		if err == nil {
			err = s.scrape(w, req, selected.targets, r.histories.of(selected.name))
		}
		if refused := (refusalError{}); errors.As(err, &refused) {
			s.refuse(w, r.histories, refused)
		}
	})
	if s.opts.Guard == nil {
		return h
	}
	return s.opts.Guard(h)
}
