package server

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

func TestBudget(t *testing.T) {
	tests := []struct {
		name    string
		header  string
		timeout time.Duration
		reserve time.Duration
		want    time.Duration
	}{
		{"no header", "", 9 * time.Second, 0, 9 * time.Second},
		{"no header, with a reserve", "", 9 * time.Second, time.Minute, 9 * time.Second},
		{"no number", "ten", 9 * time.Second, 0, 9 * time.Second},
		{"a duration", "10s", 9 * time.Second, 0, 9 * time.Second},
		{"NaN", "NaN", 9 * time.Second, 0, 9 * time.Second},
		{"infinite", "+Inf", 9 * time.Second, 0, 9 * time.Second},
		{"less than infinite", "-Inf", 9 * time.Second, 0, 9 * time.Second},
		{"negative", "-1", 9 * time.Second, 0, 9 * time.Second},
		{"zero", "0", 9 * time.Second, 0, 9 * time.Second},
		{"huge", "1e300", 9 * time.Second, 0, 9 * time.Second},
		{"the greatest duration", strconv.FormatFloat(math.MaxInt64/1e9, 'f', -1, 64), 9 * time.Second, 0, 9 * time.Second},
		{"a bit less", "9223372036", 9 * time.Second, 0, 9 * time.Second},
		{"long", "60", 9 * time.Second, 0, 9 * time.Second},
		{"the usual", "10", 9 * time.Second, 0, 9 * time.Second},
		{"less a half second", "10", time.Minute, 0, 9500 * time.Millisecond},
		{"a fraction", "2.75", time.Minute, 0, 2250 * time.Millisecond},
		{"a small reserve", "10", time.Minute, 300 * time.Millisecond, 9500 * time.Millisecond},
		{"half as much again as the reserve", "10", time.Minute, 2 * time.Second, 7 * time.Second},
		{"never under half", "10", time.Minute, 8 * time.Second, 5 * time.Second},
		{"small", "0.8", 9 * time.Second, 0, 400 * time.Millisecond},
		{"smaller", "0.01", 9 * time.Second, 0, 5 * time.Millisecond},
		{"a timeout under it", "10", 3 * time.Second, 8 * time.Second, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := budget(tt.header, tt.timeout, tt.reserve); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestBudgetReachesTargets wants targets to be told of the time that they have.
func TestBudgetReachesTargets(t *testing.T) {
	pod, last := newTarget(t, "a", "m 1\n")
	s, _, _ := newServer(t, pod)
	for header, most := range map[string]float64{"": 9, "8": 7.5, "1000": 9} {
		get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {header}})
		got, err := strconv.ParseFloat(last.get().Get(timeoutHeader), 64)
		if err != nil || got > most || got < most/2 {
			t.Errorf("with %q the target was told %g (%v), want a bit less than %g", header, got, err, most)
		}
	}
}

func TestWriteTime(t *testing.T) {
	s, _, _ := newServer(t)
	for i, step := range []struct{ took, want time.Duration }{
		{100, 100}, {400, 400}, {0, 200}, {0, 100}, {100, 100}, {300, 300},
	} {
		if s.noteWriteTime(step.took); time.Duration(s.writeTime.Load()) != step.want {
			t.Errorf("step %d: %d is kept after %d, want %d", i, s.writeTime.Load(), step.took, step.want)
		}
	}
}

// TestSaturated wants a scrape to wait for a place until its deadline.
func TestSaturated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newServer(t)
		for range cap(s.answering) {
			s.answering <- struct{}{}
		}
		start := time.Now()
		w := get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {"2"}})
		if took := time.Since(start); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "SERVER_WORKERS") || took != 1500*time.Millisecond {
			t.Errorf("the answer is %d %q after %s, want 503 after 1.5s", w.Code, w.Body, took)
		}

		time.AfterFunc(time.Second, func() { <-s.answering })
		start = time.Now()
		w = get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {"2"}})
		if took := time.Since(start); w.Code != http.StatusOK || took != time.Second {
			t.Errorf("the answer is %d %q after %s, want 200 after 1s", w.Code, w.Body, took)
		}
		if got := len(s.answering); got != cap(s.answering)-1 {
			t.Errorf("%d places are taken: the answer did not give its own back", got)
		}

		s.answering <- struct{}{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		if took := time.Since(start); took != time.Second {
			t.Errorf("it waited %s for a client that was gone after 1s", took)
		}
	})
}

func TestPlaces(t *testing.T) {
	for workers, want := range map[int]int{0: 8, 1: 8, 8: 8, 20: 20} {
		s, _, _ := newServer(t)
		opts := s.opts
		opts.Workers, opts.Registry = workers, prometheus.NewRegistry()
		if got := cap(New(opts).answering); got != want {
			t.Errorf("with %d workers %d scrapes are answered at a time, want %d", workers, got, want)
		}
	}
}

// TestClientGone wants nothing to be counted or logged of targets that did not
// answer because nobody wanted them to.
func TestClientGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	s, _, log := newServer(t, &target.Target{ID: "a", URL: srv.URL})
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
	wantLines(t, "client gone", log.take())
	if w.Body.Len() > 0 {
		t.Errorf("nobody was answered %q", w.Body)
	}
	got := counted(t, s)
	if got["metrics_proxy_target_scrapes_total timeout"] != 0 || got["metrics_proxy_scrape_duration_seconds"] != 0 {
		t.Errorf("outcomes were counted: %v", got)
	}
}

// answerOf is what a scrape found of pod.
func answerOf(reason target.Reason) scrape.Answer {
	outcome := target.Outcome{Reason: reason, Duration: time.Second, Bytes: 7}
	if reason != target.OK {
		outcome.Err = errors.New("why it is " + string(reason))
	}
	pod := &target.Target{ID: "1", Namespace: "ns", Pod: "web-0", URL: "http://10.0.0.1/metrics"}
	return scrape.Answer{Merged: exposition.Merge(nil), Results: []scrape.Result{{Target: pod, Outcome: outcome}}}
}

// TestReport wants changes to be logged, and nothing else.
func TestReport(t *testing.T) {
	s, _, log := newServer(t)
	who := []string{"namespace=ns", "pod=web-0", "url=http://10.0.0.1/metrics"}
	down := func(reason string) []string {
		return append([]string{"level=WARN", `msg="target is down"`, "reason=" + reason, `err="why it is ` + reason + `"`, "duration=1s", "bytes=7"}, who...)
	}
	none := scrape.Answer{Merged: exposition.Merge(nil)}
	steps := []struct {
		name   string
		answer scrape.Answer
		want   [][]string
	}{
		{"up", answerOf(target.OK), nil},
		{"down", answerOf(target.Timeout), [][]string{down("timeout")}},
		{"still down", answerOf(target.Timeout), nil},
		{"another reason", answerOf(target.Parse), [][]string{down("parse")}},
		{"up again", answerOf(target.OK), [][]string{append([]string{"level=INFO", `msg="target is up again"`, "was=parse"}, who...)}},
		{"still up", answerOf(target.OK), nil},
		{"down anew", answerOf(target.Parse), [][]string{down("parse")}},
		{"gone", none, nil},
		{"back and down", answerOf(target.Parse), [][]string{down("parse")}},
		{"gone", none, nil},
		{"back and up", answerOf(target.OK), nil},
	}
	for _, step := range steps {
		s.report(step.answer)
		wantLines(t, step.name, log.take(), step.want...)
	}
}

// TestReportDemoted wants families that targets disagree on to be logged when they
// are others than before.
func TestReportDemoted(t *testing.T) {
	s, _, log := newServer(t)
	merged := func(bodies ...string) scrape.Answer {
		var parts []exposition.Part
		for _, body := range bodies {
			b, err := exposition.Read(strings.NewReader(body), exposition.Options{})
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, exposition.Part{Body: b})
		}
		return scrape.Answer{Merged: exposition.Merge(parts)}
	}
	agree := merged("# TYPE m counter\nm 1\n")
	disagree := merged("# TYPE m counter\nm 1\n", "# TYPE m gauge\nm 1\n")
	worse := merged("# TYPE m counter\nm 1\n# TYPE n counter\nn 1\n", "# TYPE m gauge\nm 1\n# TYPE n gauge\nn 1\n")
	steps := []struct {
		name   string
		answer scrape.Answer
		want   [][]string
	}{
		{"agree", agree, nil},
		{"disagree", disagree, [][]string{{"level=WARN", "families=[m]"}}},
		{"still", disagree, nil},
		{"on more", worse, [][]string{{"level=WARN", `families="[m n]"`}}},
		{"agree again", agree, nil},
		{"disagree again", disagree, [][]string{{"families=[m]"}}},
	}
	for _, step := range steps {
		s.report(step.answer)
		wantLines(t, step.name, log.take(), step.want...)
	}
}
