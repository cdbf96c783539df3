package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// refusalMemory is for how long a refusal must not have come to be news again: longer
// than anybody waits between two scrapes.
const refusalMemory = 10 * time.Minute

// refusalError is why a request is not answered by a scrape.
type refusalError struct {
	status  int    // of the response
	outcome string // in metrics_proxy_scrapes_total
	message string // body of the response
}

func (e refusalError) Error() string { return e.message }

// lastRefusal is the last one with its outcome.
type lastRefusal struct {
	message string
	at      time.Time
}

// refuse answers that there is no answer, counts why, and warns if that is news: a proxy
// among its own targets refuses itself at each scrape.
func (s *Server) refuse(w http.ResponseWriter, h *histories, refused refusalError) {
	s.metrics.answers.WithLabelValues(refused.outcome).Inc()
	now := lastRefusal{refused.message, time.Now()}
	h.mu.Lock()
	before := h.refusals[refused.outcome]
	h.refusals[refused.outcome] = now
	h.mu.Unlock()
	level := slog.LevelDebug
	if before.message != now.message || now.at.Sub(before.at) > refusalMemory {
		level = slog.LevelWarn
	}
	s.opts.Logger.Log(context.Background(), level, "scrape refused", "outcome", refused.outcome, "why", refused.message)
	http.Error(w, refused.message, refused.status)
}
