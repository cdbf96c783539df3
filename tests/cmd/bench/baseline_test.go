package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// TestBaselines checks that both baselines return the samples of all targets, plain and
// compressed.
func TestBaselines(t *testing.T) {
	const targets = 3
	body := sampleBodies(t)["program"]
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != acceptText || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("a target is scraped with headers %v", r.Header)
		}
		_, _ = w.Write(body)
	}))
	defer exporter.Close()
	f := newFanOut(nil)
	for range targets {
		f.urls = append(f.urls, exporter.URL)
	}
	for _, coding := range []string{"", "gzip"} {
		if got := len(scrapeBaseline(t, f, join, coding)); got != targets*len(body) {
			t.Errorf("join returns %d bytes, want %d", got, targets*len(body))
		}
		series := parseSeries(t, scrapeBaseline(t, f, mergeFamilies, coding), textType)
		if got, want := len(series), targets*countSamples(body); got != want {
			t.Errorf("expfmt returns %d series, want %d", got, want)
		}
	}
}

// scrapeBaseline returns the uncompressed response.
func scrapeBaseline(t *testing.T, f *fanOut, aggregate aggregator, coding string) []byte {
	t.Helper()
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", acceptText)
	request.Header.Set("Accept-Encoding", coding)
	if err := f.respond(recorder, request, aggregate); err != nil {
		t.Fatal(err)
	}
	var plain io.Reader = recorder.Body
	if recorder.Header().Get("Content-Encoding") != coding {
		t.Fatalf("Content-Encoding is %q, want %q", recorder.Header().Get("Content-Encoding"), coding)
	}
	if coding == "gzip" {
		var err error
		if plain, err = gzip.NewReader(recorder.Body); err != nil {
			t.Fatal(err)
		}
	}
	body, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestBaselinesFailIfATargetFails(t *testing.T) {
	exporter := httptest.NewServer(http.NotFoundHandler())
	defer exporter.Close()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	for _, aggregate := range []aggregator{join, mergeFamilies} {
		if err := newFanOut([]string{exporter.URL}).respond(httptest.NewRecorder(), request, aggregate); err == nil {
			t.Error("no error although a target failed")
		}
	}
}
