package server

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"
)

// refusalLogInterval is the time without a refusal after which the same one is logged as a
// warning again. It is longer than a usual scrape interval.
const refusalLogInterval = 10 * time.Minute

// maxRefusals is the maximum number of different refusals of a route that are logged as
// warnings in refusalLogInterval: a message may contain what the client sent.
const maxRefusals = 16

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
	if h.isNewRefusal(refused.outcome+message, time.Now()) {
		level = slog.LevelWarn
	}
	s.opts.Logger.Log(context.Background(), level, "scrape refused", "outcome", refused.outcome, "why", message)
	http.Error(w, refused.message, refused.status)
}

// isNewRefusal records a refusal, and reports whether it has not been recorded for
// refusalLogInterval. It returns false if there are too many different ones.
func (h *histories) isNewRefusal(refused string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	isOld := func(at time.Time) bool { return now.Sub(at) > refusalLogInterval }
	at, isKnown := h.refusals[refused]
	if !isKnown && len(h.refusals) >= maxRefusals {
		maps.DeleteFunc(h.refusals, func(_ string, at time.Time) bool { return isOld(at) })
		if len(h.refusals) >= maxRefusals {
			return false
		}
	}
	if h.refusals == nil {
		h.refusals = map[string]time.Time{}
	}
	h.refusals[refused] = now
	return !isKnown || isOld(at)
}
