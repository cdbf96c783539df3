package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// fakeDiscovery has fixed targets and errors.
type fakeDiscovery struct {
	mu      sync.Mutex // guards targets if they change during a scrape
	targets []*target.Target
	problem error // of Ready and Known
	delay   error // of Current
}

func (f *fakeDiscovery) Ready() error   { return f.problem }
func (f *fakeDiscovery) Known() error   { return f.problem }
func (f *fakeDiscovery) Current() error { return f.delay }

func (f *fakeDiscovery) Targets() []*target.Target {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.targets
}

func (f *fakeDiscovery) setTargets(targets ...*target.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets = targets
}

// newServer creates a server for targets. It also returns their discovery and the log.
func newServer(t *testing.T, targets ...*target.Target) (*Server, *fakeDiscovery, *logged) {
	t.Helper()
	d, log := &fakeDiscovery{targets: targets}, new(logged)
	return New(Options{
		Discovery:     d,
		Client:        scrape.New(scrape.Options{ConnectTimeout: 5 * time.Second, BodySizeLimit: 1 << 20}),
		ScrapeTimeout: 9 * time.Second,
		Instance:      "me",
		Logger:        slog.New(slog.NewTextHandler(log, nil)),
		Registry:      prometheus.NewRegistry(),
	}), d, log
}

// serveMetrics serves a scrape of /metrics.
func serveMetrics(s *Server, w http.ResponseWriter, r *http.Request) {
	s.handlerOf(s.routes[0]).ServeHTTP(w, r)
}

// metricsHistory returns the history of /metrics.
func metricsHistory(s *Server) *history { return s.routes[0].histories.of("") }

// logDebug makes the server log at level debug.
func logDebug(s *Server, log *logged) {
	s.opts.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// logged collects log lines. Safe for concurrent use.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// take returns the lines since the previous call.
func (l *logged) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// newTarget starts a target that returns body. It also returns the last request header.
func newTarget(t *testing.T, pod, body string) (*target.Target, *seen) {
	t.Helper()
	last := new(seen)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last.set(r.Header)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)
	return &target.Target{ID: pod, Namespace: "ns", Pod: pod, URL: srv.URL, Labels: []target.Label{{Name: "pod", Value: pod}}}, last
}

// seen holds the header of the last request to a target; nil if there was none.
type seen struct {
	mu     sync.Mutex
	header http.Header
}

func (s *seen) set(h http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header = h
}

func (s *seen) get() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.header
}

func get(t *testing.T, h http.Handler, path string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestNotReady(t *testing.T) {
	pod, last := newTarget(t, "a", "m 1\n")
	s, d, _ := newServer(t, pod)
	d.problem = errors.New("pods are forbidden")
	for _, path := range []string{"/metrics", "/-/ready"} {
		w := get(t, s.Handler(), path, nil)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "pods are forbidden") {
			t.Errorf("%s returns %d %q, want 503 and the reason", path, w.Code, w.Body)
		}
	}
	if last.get() != nil {
		t.Error("a target was scraped")
	}
	wantScrapes(t, s, map[string]float64{"not_ready": 1})
	if w := get(t, s.Handler(), "/-/healthy", nil); w.Code != http.StatusOK || w.Body.String() != Healthy {
		t.Errorf("/-/healthy returns %d %q, want 200 while the process responds", w.Code, w.Body)
	}
	d.problem = nil
	if w := get(t, s.Handler(), "/-/ready", nil); w.Code != http.StatusOK || w.Body.String() != "metrics-proxy is ready: 1 targets.\n" {
		t.Errorf("/-/ready returns %d %q", w.Code, w.Body)
	}
}

func TestReady(t *testing.T) {
	a, _ := newTarget(t, "a", "m 1\n")
	b, _ := newTarget(t, "b", "bad\n")
	s, d, _ := newServer(t, a, b)
	want := "metrics-proxy is ready: 2 targets.\n"
	for range 2 {
		if w := get(t, s.Handler(), "/-/ready", nil); w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("/-/ready returns %d %q, want %q", w.Code, w.Body, want)
		}
		get(t, s.Handler(), "/metrics", nil)
		d.delay = errors.New("pods may not be watched")
		want = "metrics-proxy is ready: 2 targets, 1 of 2 up at the last scrape.\npods may not be watched\n"
	}
}

func TestResponse(t *testing.T) {
	a, _ := newTarget(t, "a", "# TYPE m counter\nm 1\n")
	b, _ := newTarget(t, "b", "# TYPE m counter\nm{pod=\"x\"} 2\n")
	bad, _ := newTarget(t, "bad", "<html>")
	s, _, _ := newServer(t, a, bad, b)
	w := get(t, s.Handler(), "/metrics", nil)
	if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != "text/plain; version=0.0.4; charset=utf-8; escaping=underscores" {
		t.Errorf("got %d, Content-Type %q", w.Code, got)
	}
	const want = `# HELP up 1 if the target answered this scrape with a valid exposition, 0 if it did not.
# TYPE up gauge
up{pod="a"} 1
up{pod="bad"} 0
up{pod="b"} 1
# TYPE m counter
m{pod="a"} 1
m{pod="b",exported_pod="x"} 2
`
	if got := w.Body.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNoTargets(t *testing.T) {
	s, _, _ := newServer(t)
	if w := get(t, s.Handler(), "/metrics", nil); w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Content-Type") == "" {
		t.Errorf("got %d %q, want 200 and an empty body", w.Code, w.Body)
	}
}

func TestLoops(t *testing.T) {
	pod, last := newTarget(t, "a", "m 1\n")
	s, _, _ := newServer(t, pod)
	tests := []struct {
		via  []string
		want int
	}{
		{nil, http.StatusOK},
		{[]string{"x", "y", "z"}, http.StatusOK},
		{[]string{"me"}, http.StatusLoopDetected},
		{[]string{"x", "me", "y"}, http.StatusLoopDetected},
		{[]string{"w", "x", "y", "z"}, http.StatusLoopDetected},
	}
	for _, tt := range tests {
		last.set(nil)
		if w := get(t, s.Handler(), "/metrics", http.Header{scrape.ViaHeader: tt.via}); w.Code != tt.want {
			t.Errorf("via %q: got %d %q, want %d", tt.via, w.Code, w.Body, tt.want)
		}
		var want []string
		if tt.want == http.StatusOK {
			want = append(slices.Clone(tt.via), "me")
		}
		if got := last.get().Values(scrape.ViaHeader); !slices.Equal(got, want) {
			t.Errorf("via %q: the target got %q, want %q", tt.via, got, want)
		}
	}
	wantScrapes(t, s, map[string]float64{"whole": 2, "loop": 3})
}

// TestFormats checks that the response has the format that the client accepts, that its
// Content-Type names that format, and that targets are requested in formats that it can carry.
func TestFormats(t *testing.T) {
	const (
		prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5," +
			"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
		up = "# HELP up 1 if the target answered this scrape with a valid exposition, 0 if it did not.\n# TYPE up gauge\n" + `up{pod="a"} 1` + "\n"
	)
	pod, last := newTarget(t, "a", "# TYPE c_total counter\nc_total 1\n# TYPE \"d.e\" gauge\n{\"d.e\"} 2\n")
	s, _, _ := newServer(t, pod)
	for _, tt := range []struct {
		name, accept, wantType, want string
	}{
		{"any", "*/*", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
			up + "# TYPE c_total counter\n" + `c_total{pod="a"} 1` + "\n# TYPE d_e gauge\n" + `d_e{pod="a"} 2` + "\n"},
		{"unknown", "text/html", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
			up + "# TYPE c_total counter\n" + `c_total{pod="a"} 1` + "\n# TYPE d_e gauge\n" + `d_e{pod="a"} 2` + "\n"},
		{"text with UTF-8 names", "text/plain;version=1.0.0;escaping=allow-utf-8", "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
			up + "# TYPE c_total counter\n" + `c_total{pod="a"} 1` + "\n# TYPE \"d.e\" gauge\n" + `{"d.e",pod="a"} 2` + "\n"},
		{"Prometheus", prometheus, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
			up + "# TYPE c counter\n" + `c_total{pod="a"} 1` + "\n# TYPE \"d.e\" gauge\n" + `{"d.e",pod="a"} 2` + "\n# EOF\n"},
		{"OpenMetrics with another escaping", "application/openmetrics-text;version=1.0.0;escaping=dots", "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=dots",
			up + "# TYPE c counter\n" + `c_total{pod="a"} 1` + "\n# TYPE d_dot_e gauge\n" + `d_dot_e{pod="a"} 2` + "\n# EOF\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, s.Handler(), "/metrics", http.Header{"Accept": {tt.accept}})
			if got := w.Header().Get("Content-Type"); got != tt.wantType {
				t.Errorf("got Content-Type %q, want %q", got, tt.wantType)
			}
			if got := w.Body.String(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if got, want := last.get().Get("Accept"), exposition.Negotiate(tt.accept).Accept(); got != want {
				t.Errorf("the target got Accept %q, want %q", got, want)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	s, _, _ := newServer(t)
	tests := []struct {
		handler      http.Handler
		method, path string
		want         int
	}{
		{s.Handler(), http.MethodPost, "/metrics", http.StatusMethodNotAllowed},
		{s.Handler(), http.MethodPost, "/-/healthy", http.StatusMethodNotAllowed},
		{s.Handler(), http.MethodPut, "/-/ready", http.StatusMethodNotAllowed},
		{s.Handler(), http.MethodHead, "/-/ready", http.StatusOK},
		{s.Handler(), http.MethodGet, "/other", http.StatusNotFound},
		{s.Handler(), http.MethodGet, "/metrics/other", http.StatusNotFound},
		{s.OwnHandler(), http.MethodPost, "/metrics", http.StatusMethodNotAllowed},
		{s.OwnHandler(), http.MethodGet, "/metrics", http.StatusOK},
		{s.OwnHandler(), http.MethodGet, "/-/healthy", http.StatusNotFound},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		tt.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil))
		if w.Code != tt.want {
			t.Errorf("%s %s returns %d, want %d", tt.method, tt.path, w.Code, tt.want)
		}
	}
}

// wantLines checks that there is one line for each group of texts, which contains all of them.
func wantLines(t *testing.T, when string, got []string, want ...[]string) {
	t.Helper()
	ok := slices.EqualFunc(got, want, func(line string, texts []string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) })
	})
	if !ok {
		t.Errorf("%s: logged %q, want %s", when, got, fmt.Sprintf("%q", want))
	}
}
