package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
)

// refusal is the reason why a request is refused without a scrape.
type refusal struct {
	status  int    // of the response
	outcome string // label value in metrics_proxy_scrapes_total
	message string // body of the response
}

// refuse responds with the refusal and counts it. It logs the refusal as a warning if it is new,
// otherwise at level debug, because a proxy among its own targets refuses its own request in
// each scrape.
func (s *Server) refuse(w http.ResponseWriter, h *histories, refused refusal) {
	s.metrics.scrapes.WithLabelValues(refused.outcome).Inc()
	message := fmt.Sprintf("%.300s", refused.message)
	level := slog.LevelDebug
	if h.refusals.isNews(refused.outcome + ": " + message) {
		level = slog.LevelWarn
	}
	s.opts.Logger.Log(context.Background(), level, "scrape refused", "outcome", refused.outcome, "why", message)
	http.Error(w, refused.message, refused.status)
}
