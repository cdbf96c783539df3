package server

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
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

// request returns a scrape by a client that sends this timeout.
func request(t *testing.T, timeout string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set(timeoutHeader, timeout)
	return r
}

func TestClientTimeout(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": noTimeout, "ten": noTimeout, "10s": noTimeout, "NaN": noTimeout, "+Inf": noTimeout, "-Inf": noTimeout, "-1": noTimeout, "0": noTimeout,
		"1e300": noTimeout, strconv.FormatFloat(math.MaxInt64/1e9, 'f', -1, 64): noTimeout,
		"9223372036": 9223372036 * time.Second, "10": 10 * time.Second, "2.75": 2750 * time.Millisecond, "0.000001": time.Microsecond,
	} {
		if got := clientTimeout(request(t, header)); got != want {
			t.Errorf("%q: got %s, want %s", header, got, want)
		}
	}
}

func TestBudget(t *testing.T) {
	tests := []struct {
		name    string
		header  string
		timeout time.Duration
		reserve time.Duration
		merging time.Duration
		want    time.Duration
	}{
		{"no header", "", 9 * time.Second, 0, 0, 9 * time.Second},
		{"no header, with a reserve", "", 9 * time.Second, time.Minute, 0, 9 * time.Second},
		{"not a number", "ten", 9 * time.Second, 0, 0, 9 * time.Second},
		{"a duration", "10s", 9 * time.Second, 0, 0, 9 * time.Second},
		{"NaN", "NaN", 9 * time.Second, 0, 0, 9 * time.Second},
		{"infinite", "+Inf", 9 * time.Second, 0, 0, 9 * time.Second},
		{"minus infinite", "-Inf", 9 * time.Second, 0, 0, 9 * time.Second},
		{"negative", "-1", 9 * time.Second, 0, 0, 9 * time.Second},
		{"zero", "0", 9 * time.Second, 0, 0, 9 * time.Second},
		{"huge", "1e300", 9 * time.Second, 0, 0, 9 * time.Second},
		{"the greatest duration", strconv.FormatFloat(math.MaxInt64/1e9, 'f', -1, 64), 9 * time.Second, 0, 0, 9 * time.Second},
		{"a bit less", "9223372036", 9 * time.Second, 0, 0, 9 * time.Second},
		{"long", "60", 9 * time.Second, 0, 0, 9 * time.Second},
		{"the usual", "10", 9 * time.Second, 0, 0, 9 * time.Second},
		{"less a half second", "10", time.Minute, 0, 0, 9500 * time.Millisecond},
		{"a fraction", "2.75", time.Minute, 0, 0, 2250 * time.Millisecond},
		{"a small reserve", "10", time.Minute, 300 * time.Millisecond, 0, 9500 * time.Millisecond},
		{"half as much again as the reserve", "10", time.Minute, 2 * time.Second, 0, 7 * time.Second},
		{"never under half", "10", time.Minute, 8 * time.Second, 0, 5 * time.Second},
		{"small", "0.8", 9 * time.Second, 0, 0, 400 * time.Millisecond},
		{"smaller", "0.01", 9 * time.Second, 0, 0, 5 * time.Millisecond},
		{"families that take less to merge", "10", time.Minute, 2 * time.Second, 2 * time.Second, 7 * time.Second},
		{"families that take longer to merge", "10", time.Minute, time.Second, 6 * time.Second, 3500 * time.Millisecond},
		{"families that take too long to merge", "10", time.Minute, 0, time.Minute, time.Second},
		{"a timeout under it", "10", 3 * time.Second, 8 * time.Second, 0, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := budget(clientTimeout(request(t, tt.header)), tt.timeout, tt.reserve, tt.merging); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestBudgetReachesTargets checks that the requests to targets contain their timeout.
func TestBudgetReachesTargets(t *testing.T) {
	pod, last := newTarget(t, "a", "m 1\n")
	s, _, _ := newServer(t, pod)
	for header, most := range map[string]float64{"": 9, "8": 7.5, "1000": 9} {
		get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {header}})
		got, err := strconv.ParseFloat(last.get().Get(timeoutHeader), 64)
		if err != nil || got > most || got < most/2 {
			t.Errorf("with %q: the target got timeout %g (%v), want slightly less than %g", header, got, err, most)
		}
	}
}

func TestWriteTime(t *testing.T) {
	s, _, _ := newServer(t)
	for i, step := range []struct{ took, want time.Duration }{
		{100, 100}, {400, 400}, {0, 200}, {0, 100}, {100, 100}, {300, 300},
	} {
		if metricsHistory(s).recordWriteTime(step.took); time.Duration(metricsHistory(s).writeTime.Load()) != step.want {
			t.Errorf("step %d: got %d after %d, want %d", i, metricsHistory(s).writeTime.Load(), step.took, step.want)
		}
	}
}

// slowWriter is a client that takes some time to read each part of the response.
type slowWriter struct {
	*httptest.ResponseRecorder
	slowness time.Duration
	deadline time.Time // of writing
}

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(w.slowness)
	return w.ResponseRecorder.Write(p)
}

func (w *slowWriter) SetWriteDeadline(deadline time.Time) error {
	w.deadline = deadline
	return nil
}

// malformed returns a target that cannot be scraped.
func malformed() *target.Target {
	return &target.Target{ID: "a", Namespace: "ns", Pod: "a", Problem: &target.Problem{Reason: target.Annotation, Err: errors.New("malformed")}}
}

// TestWriteTimeIsRecorded checks that the time that a client takes to read is recorded for this
// client if it sends a timeout, and is capped at half of the timeout.
func TestWriteTimeIsRecorded(t *testing.T) {
	for _, tt := range []struct {
		header     string
		took, want time.Duration
	}{
		{"", time.Second, 0}, {"ten", time.Second, 0}, {"10", time.Second, time.Second}, {"10", 5 * time.Second, 5 * time.Second}, {"10", 8 * time.Second, 5 * time.Second}, {"1", time.Hour, 500 * time.Millisecond},
	} {
		t.Run(tt.header+" "+tt.took.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, _ := newServer(t, malformed())
				client := request(t, tt.header)
				serveMetrics(s, &slowWriter{ResponseRecorder: httptest.NewRecorder(), slowness: tt.took}, client)
				if got := metricsHistory(s).recentWriteTime(clientAddr(client)); got != tt.want {
					t.Errorf("got write time %s, want %s", got, tt.want)
				}
				if got := metricsHistory(s).recentWriteTime(netip.MustParseAddr("10.0.0.1")); got != 0 {
					t.Errorf("got write time %s for another client, want 0", got)
				}
			})
		})
	}
}

// TestWriteDeadline checks the write deadline: the timeout of the client, or SCRAPE_TIMEOUT
// plus 10 s if that is shorter, from the start of the request.
func TestWriteDeadline(t *testing.T) {
	for header, want := range map[string]time.Duration{"": 19 * time.Second, "60": 19 * time.Second, "19.5": 19 * time.Second, "18": 18 * time.Second, "5": 5 * time.Second} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, _ := newServer(t, malformed())
				for range cap(s.slots) {
					s.slots <- struct{}{}
				}
				time.AfterFunc(time.Second, func() { <-s.slots }) // so that the scrape of the targets starts later than the request
				w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
				start := time.Now()
				serveMetrics(s, w, request(t, header))
				if got := w.deadline.Sub(start); got != want || w.Body.Len() == 0 {
					t.Errorf("response of %d bytes: got write deadline %s, want %s", w.Body.Len(), got, want)
				}
			})
		})
	}
}

// TestTargetsAfterTheWait checks that a scrape uses the targets that are known when it acquires
// a slot, not when it starts to wait for one.
func TestTargetsAfterTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d, _ := newServer(t)
		for range cap(s.slots) {
			s.slots <- struct{}{}
		}
		time.AfterFunc(time.Second, func() {
			d.setTargets(malformed())
			<-s.slots
		})
		if w := get(t, s.Handler(), "/metrics", nil); !strings.Contains(w.Body.String(), "up 0\n") {
			t.Errorf("got response %q, want it to contain the target", w.Body)
		}
	})
}

// TestDebugLines checks that each scrape is logged at level debug, and that only refused ones
// are logged at level info.
func TestDebugLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d, log := newServer(t, malformed())
		s.report(metricsHistory(s), s.opts.Client.Gather(t.Context(), scrape.Request{Targets: d.Targets, Deadline: func(scrape.Received) time.Time { return time.Now() }}), exposition.Format{})
		log.take() // the line that the target is down
		scrape := func(header string) {
			serveMetrics(s, &slowWriter{ResponseRecorder: httptest.NewRecorder(), slowness: 4 * time.Second}, request(t, header))
		}
		scrape("")
		wantLines(t, "at level info", log.take())

		logDebug(s, log)
		scrape("")
		wantLines(t, "without timeout", log.take(), []string{"level=DEBUG", `msg="scrape served"`, "targets=1", "bytes=", "deadline=9s", "duration=4s", "err=<nil>"})
		scrape("10")
		wantLines(t, "with a timeout", log.take(), []string{"deadline=9s", "duration=4s"})
		scrape("10")
		wantLines(t, "when writing is known to take 4s", log.take(), []string{"deadline=5s", "duration=4s"})
		serveMetrics(s, brokenWriter{httptest.NewRecorder()}, request(t, ""))
		wantLines(t, "broken", log.take(), []string{"level=DEBUG", "err=gone"})
		d.problem = errors.New("not yet")
		scrape("")
		wantLines(t, "not ready", log.take(), []string{"level=WARN", `msg="scrape refused"`, "outcome=not_ready", "not yet"})
	})
}

// TestSaturated checks that a scrape waits for a slot for half of its time, because the targets
// need the other half.
func TestSaturated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newServer(t)
		for range cap(s.slots) {
			s.slots <- struct{}{}
		}
		start := time.Now()
		w := get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {"2"}})
		if took := time.Since(start); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "SERVER_WORKERS") || took != 750*time.Millisecond {
			t.Errorf("got %d %q after %s, want 503 after 0.75s", w.Code, w.Body, took)
		}
		wantScrapes(t, s, map[string]float64{"refused": 1})
		start = time.Now()
		if get(t, s.Handler(), "/metrics", nil); time.Since(start) != 4500*time.Millisecond {
			t.Errorf("without a timeout: waited %s, want half of SCRAPE_TIMEOUT", time.Since(start))
		}
		wantScrapes(t, s, map[string]float64{"refused": 2})

		time.AfterFunc(700*time.Millisecond, func() { <-s.slots })
		start = time.Now()
		w = get(t, s.Handler(), "/metrics", http.Header{timeoutHeader: {"2"}})
		if took := time.Since(start); w.Code != http.StatusOK || took != 700*time.Millisecond {
			t.Errorf("got %d %q after %s, want 200 after 0.7s", w.Code, w.Body, took)
		}
		wantScrapes(t, s, map[string]float64{"refused": 2, "whole": 1})
		if got := len(s.slots); got != cap(s.slots)-1 {
			t.Errorf("%d slots are in use: the scrape did not release its slot", got)
		}

		s.slots <- struct{}{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		if took := time.Since(start); took != time.Second {
			t.Errorf("waited %s for a client that was gone after 1s", took)
		}
		wantScrapes(t, s, map[string]float64{"refused": 2, "whole": 1, "broken": 1})
	})
}

func TestSlots(t *testing.T) {
	for workers, want := range map[int]int{0: 8, 1: 8, 8: 8, 20: 20} {
		s, _, _ := newServer(t)
		opts := s.opts
		opts.Workers, opts.Registry = workers, prometheus.NewRegistry()
		if got := cap(New(opts).slots); got != want {
			t.Errorf("with %d workers: got %d slots, want %d", workers, got, want)
		}
	}
}
