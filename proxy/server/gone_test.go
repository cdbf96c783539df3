package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// TestClientGone checks that a scrape whose client has gone away is counted as broken, and
// that outcomes of its targets, which were canceled, are neither counted nor logged.
func TestClientGone(t *testing.T) {
	for level, want := range map[slog.Level][][]string{
		slog.LevelInfo:  nil,
		slog.LevelDebug: {{"level=DEBUG", `msg="scrape abandoned by its client"`, "duration="}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		}))
		t.Cleanup(srv.Close)
		s, _, log := newServer(t, &target.Target{ID: "a", URL: srv.URL})
		if level == slog.LevelDebug {
			logDebug(s, log)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		wantLines(t, "at level "+level.String(), log.take(), want...)
		if w.Body.Len() > 0 {
			t.Errorf("wrote %q to a client that has gone away", w.Body)
		}
		wantScrapes(t, s, map[string]float64{"broken": 1})
		got := counted(t, s)
		if got["metrics_proxy_target_scrapes_total timeout"] != 0 || got["metrics_proxy_scrape_duration_seconds"] != 0 {
			t.Errorf("outcomes were counted: %v", got)
		}
	}
}
