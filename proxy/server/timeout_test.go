package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// TestTooSmallTimeout checks that a client that alternates a tiny timeout with a usual one is
// refused when it sends the tiny one, which is logged once, and makes no target look down.
func TestTooSmallTimeout(t *testing.T) {
	pod, last := newTarget(t, "a", "m 1\n")
	s, _, log := newServer(t, pod)
	for i := range 40 {
		last.set(nil)
		for _, timeout := range []string{"0.006", "0.0499", "1e-300"} {
			w := get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {timeout}})
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "expected at least 0.05 seconds") || last.get() != nil {
				t.Errorf("%s: got %d %q, and a request to the target: %t", timeout, w.Code, w.Body, last.get() != nil)
			}
		}
		if w := get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {"10"}}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `up{pod="a"} 1`) {
			t.Errorf("with a usual timeout: got %d %q", w.Code, w.Body)
		}
		if i == 0 {
			wantLines(t, "first", log.take(), []string{"level=WARN", `msg="scrape refused"`, "outcome=bad_timeout"})
		}
	}
	wantLines(t, "later", log.take())
	wantScrapes(t, s, map[string]float64{"bad_timeout": 120, "whole": 40})
	if got := counted(t, s); got["metrics_proxy_target_scrapes_total timeout"] != 0 || got["metrics_proxy_target_scrapes_total ok"] != 40 {
		t.Errorf("counted %v", got)
	}
	if w := get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {"0.05"}}); w.Code == http.StatusBadRequest {
		t.Errorf("0.05 s: got %d %q", w.Code, w.Body)
	}
}

// TestLateOutcomes checks that the outcomes of a scrape whose client has given up by its own
// timeout are neither counted nor logged, and that the response is not an empty success.
func TestLateOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, log := newServer(t)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.Header.Set(timeoutHeader, "2")
		targets := func() []*target.Target {
			time.Sleep(time.Second)
			return []*target.Target{malformed()}
		}
		for range 3 {
			w := httptest.NewRecorder()
			refused := s.scrape(w, r, targets, metricsHistory(s))
			if refused == nil || refused.status != http.StatusServiceUnavailable || w.Body.Len() > 0 {
				t.Errorf("got %v and the response %q, want 503", refused, w.Body)
			}
		}
		wantLines(t, "after", log.take())
		if got := counted(t, s); got["metrics_proxy_target_scrapes_total annotation"] != 0 {
			t.Errorf("counted %v", got)
		}
	})
}

// TestRefusalsAlternate checks that two kinds of refusals that alternate are logged once each.
func TestRefusalsAlternate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n news
		got := map[string]int{}
		for range 100 {
			for _, event := range []string{"a", "b"} {
				if n.isNews(event) {
					got[event]++
				}
			}
			time.Sleep(time.Minute)
		}
		if got["a"] != 1 || got["b"] != 1 {
			t.Errorf("logged %v, want once each", got)
		}
		for i := range 1000 {
			n.isNews(strings.Repeat("x", i))
		}
		if len(n.last) > maxNews {
			t.Errorf("%d events are remembered, want at most %d", len(n.last), maxNews)
		}
	})
}
