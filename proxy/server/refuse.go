package server

import (
	"context"
	"log/slog"
	"net/http"
)

// refusalError is the reason why a request is refused without a scrape.
type refusalError struct {
	status  int    // of the response
	outcome string // label value in metrics_proxy_scrapes_total
	message string // body of the response
}

func (e refusalError) Error() string { return e.message }

// refuse responds with the refusal and counts it. It logs the refusal as a warning if it is new,
// otherwise at level debug, because a proxy among its own targets refuses its own request in
// each scrape.
func (s *Server) refuse(w http.ResponseWriter, h *histories, refused refusalError) {
	s.metrics.scrapes.WithLabelValues(refused.outcome).Inc()
	level := slog.LevelDebug
	if h.refusals.isNews(refused.outcome + ": " + refused.message) {
		level = slog.LevelWarn
	}
	s.opts.Logger.Log(context.Background(), level, "scrape refused", "outcome", refused.outcome, "why", refused.message)
	http.Error(w, refused.message, refused.status)
}
