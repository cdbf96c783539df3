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

// refusal is the last one with its outcome.
type refusal struct {
	message string
	at      time.Time
}

// refuse answers that there is no answer, counts why, and warns if that is news: a proxy
// among its own targets refuses itself at each scrape.
func (s *Server) refuse(w http.ResponseWriter, status int, outcome, message string) {
	s.metrics.answers.WithLabelValues(outcome).Inc()
	now := refusal{message, time.Now()}
	s.mu.Lock()
	before := s.refusals[outcome]
	s.refusals[outcome] = now
	s.mu.Unlock()
	level := slog.LevelDebug
	if before.message != now.message || now.at.Sub(before.at) > refusalMemory {
		level = slog.LevelWarn
	}
	s.opts.Logger.Log(context.Background(), level, "scrape refused", "outcome", outcome, "why", message)
	http.Error(w, message, status)
}
