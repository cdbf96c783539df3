package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// selectRoute adds a route that scrapes the target that the query parameter name selects.
func selectRoute(s *Server, pattern string, targets map[string]*target.Target) *histories {
	r := &route{pattern: pattern, targets: func(r *http.Request) (selection, *refusal) {
		name := r.URL.Query().Get("name")
		one, ok := targets[name]
		if !ok {
			return selection{}, &refusal{http.StatusNotFound, "refused", "unknown target " + name}
		}
		return selection{name, func() []*target.Target { return []*target.Target{one} }}, nil
	}}
	s.routes = append(s.routes, r)
	return &r.histories
}

// TestHistoriesAreSeparate checks that each selection of each route has its own history: an
// outcome of one is not a change for another, and a slow client of one does not reduce the
// time of the targets of another.
func TestHistoriesAreSeparate(t *testing.T) {
	a, _ := newTarget(t, "a", "m 1\n")
	down := malformed()
	down.ID = a.ID // the same endpoint in another route
	s, _, log := newServer(t, a)
	first := selectRoute(s, "GET /first", map[string]*target.Target{"up": a, "down": down})
	second := selectRoute(s, "GET /second", map[string]*target.Target{"down": down})
	handler := s.Handler()
	scrapeAll := func() {
		for _, path := range []string{"/metrics", "/first?name=up", "/first?name=down", "/second?name=down"} {
			if w := get(t, handler, path, nil); w.Code != http.StatusOK {
				t.Errorf("%s returns %d %s", path, w.Code, w.Body)
			}
		}
	}
	scrapeAll()
	down1 := []string{"level=WARN", `msg="target is down"`}
	wantLines(t, "first scrape", log.take(), down1, down1)
	for range 3 {
		scrapeAll()
	}
	wantLines(t, "without changes", log.take())

	metricsHistory(s).recordWriteTime(time.Second)
	first.of("up").recordWriteTime(2 * time.Second)
	for _, h := range []*history{first.of("down"), second.of("down")} {
		if got := time.Duration(h.writeTime.Load()); got >= time.Second {
			t.Errorf("a write time of %s was recorded for another selection", got)
		}
	}
	// /-/ready is about /metrics.
	if w := get(t, handler, "/-/ready", nil); w.Body.String() != "metrics-proxy is ready: 1 targets, 1 of 1 up at the last scrape.\n" {
		t.Errorf("/-/ready returns %q", w.Body)
	}
}

// TestRefusedSelection checks that a request without a valid selection is refused with the
// message of its refusal, and that this is logged once for each route.
func TestRefusedSelection(t *testing.T) {
	s, _, log := newServer(t)
	selectRoute(s, "GET /first", nil)
	selectRoute(s, "GET /second", nil)
	handler := s.Handler()
	for i := range 3 {
		for _, path := range []string{"/first?name=x", "/second?name=y"} {
			if w := get(t, handler, path, nil); w.Code != http.StatusNotFound || w.Body.String() != "unknown target "+path[len(path)-1:]+"\n" {
				t.Errorf("%s returns %d %q", path, w.Code, w.Body)
			}
		}
		want := [][]string{{"scrape refused", "unknown target x"}, {"scrape refused", "unknown target y"}}
		if i > 0 {
			want = nil
		}
		wantLines(t, fmt.Sprint("time ", i), log.take(), want...)
	}
}

// TestGuard checks that the guard wraps each route that scrapes, but no probe.
func TestGuard(t *testing.T) {
	a, last := newTarget(t, "a", "m 1\n")
	s, _, _ := newServer(t, a)
	s.opts.Guard = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				http.Error(w, "no credentials", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	selectRoute(s, "GET /other", map[string]*target.Target{"": a})
	for path, want := range map[string]int{"/metrics": http.StatusUnauthorized, "/other": http.StatusUnauthorized, "/-/healthy": http.StatusOK, "/-/ready": http.StatusOK} {
		if w := get(t, s.Handler(), path, nil); w.Code != want {
			t.Errorf("without credentials %s returns %d, want %d", path, w.Code, want)
		}
		if w := get(t, s.Handler(), path, http.Header{"Authorization": {"me"}}); w.Code != http.StatusOK {
			t.Errorf("with credentials %s returns %d", path, w.Code)
		}
		if last.get().Get("Authorization") != "" {
			t.Errorf("%s passed the credentials on to the target", path)
		}
	}
}

// TestOutcomesAreCopies checks that a history holds copies of the outcomes, which later changes
// of the answer do not affect.
func TestOutcomesAreCopies(t *testing.T) {
	s, _, _ := newServer(t)
	h := metricsHistory(s)
	answer := answerOf(target.OK, target.Timeout)
	err := answer.Results[1].Outcome.Err
	s.report(h, answer, exposition.Format{})
	answer.Results[0].Outcome.Reason = target.Parse
	if up, down, ok := h.counts(); up != 1 || down != 1 || !ok {
		t.Errorf("got %d up and %d down, %t", up, down, ok)
	}
	for id, want := range map[string]target.Reason{"0": target.OK, "1": target.Timeout} {
		if got := h.outcomes[id]; got.Reason != want || got.target.ID != id || got.Duration != time.Second || got.Bytes != 7 {
			t.Errorf("%s: got outcome %+v, want %s", id, got, want)
		}
	}
	if got := h.outcomes["1"].Err; got.Error() != err.Error() || errors.Is(got, err) {
		t.Errorf("got error %v, want a copy of %v", got, err)
	}
}

// TestBoundsOfHistories checks that the histories of a route are bounded in number and size, and
// that those in use and that of all targets are kept.
func TestBoundsOfHistories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(histories)
		all, used := h.of(""), h.of("used")
		for i := range 3 * maxSelections {
			time.Sleep(time.Second)
			h.of(fmt.Sprint(i))
			if i%10 == 0 && h.of("used") != used {
				t.Fatalf("the history in use was evicted at %d", i)
			}
		}
		if got := len(h.selections); got != maxSelections || h.of("") != all {
			t.Errorf("%d selections are kept, want %d, among them that of all targets", got, maxSelections)
		}
		large := make(map[string]outcome)
		for i := range maxOutcomes / 2 {
			large[fmt.Sprint(i)] = outcome{}
		}
		for _, name := range []string{"large 1", "large 2", "large 3"} {
			time.Sleep(time.Second)
			h.of(name).replace(large, exposition.Format{}, nil)
		}
		h.of("")
		if len(h.selections) != 3 || h.selections["large 1"] != nil || h.of("") != all {
			t.Errorf("%d selections are kept, want two large ones and that of all targets", len(h.selections))
		}
	})
}

// TestManyRefusals checks that refusals that differ each time fill neither the log nor the memory.
func TestManyRefusals(t *testing.T) {
	s, _, log := newServer(t)
	h := selectRoute(s, "GET /first", nil)
	handler := s.Handler()
	for i := range 100 {
		get(t, handler, fmt.Sprintf("/first?name=%d%s", i, strings.Repeat("x", 10_000)), nil)
	}
	lines := log.take()
	if len(lines) != maxNews || len(h.refusals.last) != maxNews {
		t.Errorf("%d lines were logged and %d refusals are kept, want %d", len(lines), len(h.refusals.last), maxNews)
	}
	for _, line := range lines {
		if len(line) > 600 {
			t.Errorf("a line has %d bytes", len(line))
		}
	}
}
