package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// refusalLogInterval is the time without a refusal after which the same one is logged as a
// warning again. It is longer than a usual scrape interval.
const refusalLogInterval = 10 * time.Minute

// refusalError is the reason why a request is refused without a scrape.
type refusalError struct {
	status  int    // of the response
	outcome string // label value in metrics_proxy_scrapes_total
	message string // body of the response
}

func (e refusalError) Error() string { return e.message }

// lastRefusal is the last refusal with an outcome.
type lastRefusal struct {
	message string
	at      time.Time
}

// refuse responds with the refusal and counts it. It logs the refusal as a warning if it is new
// for its outcome, otherwise at level debug, because a proxy among its own targets refuses its
// own request in each scrape.
func (s *Server) refuse(w http.ResponseWriter, h *histories, refused refusalError) {
	s.metrics.scrapes.WithLabelValues(refused.outcome).Inc()
	now := lastRefusal{refused.message, time.Now()}
	h.mu.Lock()
	before := h.refusals[refused.outcome]
	h.refusals[refused.outcome] = now
	h.mu.Unlock()
	level := slog.LevelDebug
	if before.message != now.message || now.at.Sub(before.at) > refusalLogInterval {
		level = slog.LevelWarn
	}
	s.opts.Logger.Log(context.Background(), level, "scrape refused", "outcome", refused.outcome, "why", refused.message)
	http.Error(w, refused.message, refused.status)
}
