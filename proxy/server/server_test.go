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

	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// fakeDiscovery knows these targets, once it has no problem.
type fakeDiscovery struct {
	targets []*target.Target
	problem error
}

func (f *fakeDiscovery) Targets() []*target.Target { return f.targets }
func (f *fakeDiscovery) Ready() error              { return f.problem }

// newServer makes a server for targets; it returns what is logged, too.
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

// logged collects log lines.
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

// take returns the lines since it was called last.
func (l *logged) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// newTarget is a pod that answers with body, on a socket.
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

// seen is the header of the last request that a target saw; nil if there was none.
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
			t.Errorf("%s answers %d %q, want 503 and the reason", path, w.Code, w.Body)
		}
	}
	if last.get() != nil {
		t.Error("a target was asked")
	}
	if w := get(t, s.Handler(), "/-/healthy", nil); w.Code != http.StatusOK || w.Body.String() != Healthy {
		t.Errorf("/-/healthy answers %d %q, want that it is healthy: it does answer", w.Code, w.Body)
	}
	d.problem = nil
	if w := get(t, s.Handler(), "/-/ready", nil); w.Code != http.StatusOK || w.Body.String() != "metrics-proxy is ready: 1 targets.\n" {
		t.Errorf("/-/ready answers %d %q", w.Code, w.Body)
	}
}

func TestAnswer(t *testing.T) {
	a, _ := newTarget(t, "a", "# TYPE m counter\nm 1\n")
	b, _ := newTarget(t, "b", "# TYPE m counter\nm{pod=\"x\"} 2\n")
	bad, _ := newTarget(t, "bad", "<html>")
	s, _, _ := newServer(t, a, bad, b)
	w := get(t, s.Handler(), "/metrics", nil)
	if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("the answer is %d, Content-Type %q", w.Code, got)
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
		t.Errorf("the answer is %d %q, want 200 and nothing", w.Code, w.Body)
	}
}

func TestCircles(t *testing.T) {
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
			t.Errorf("via %q: the answer is %d %q, want %d", tt.via, w.Code, w.Body, tt.want)
		}
		var want []string
		if tt.want == http.StatusOK {
			want = append(slices.Clone(tt.via), "me")
		}
		if got := last.get().Values(scrape.ViaHeader); !slices.Equal(got, want) {
			t.Errorf("via %q: the target saw %q, want %q", tt.via, got, want)
		}
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
			t.Errorf("%s %s answers %d, want %d", tt.method, tt.path, w.Code, tt.want)
		}
	}
}

// wantLines wants as many lines as there are groups of texts, with these texts.
func wantLines(t *testing.T, when string, got []string, want ...[]string) {
	t.Helper()
	ok := slices.EqualFunc(got, want, func(line string, texts []string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) })
	})
	if !ok {
		t.Errorf("%s: logged %q, want %s", when, got, fmt.Sprintf("%q", want))
	}
}
