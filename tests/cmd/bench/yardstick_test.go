package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// Both yardsticks answer what they say, plain and compressed.
func TestYardsticks(t *testing.T) {
	const targets = 3
	body := sampleBodies(t)["program"]
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != acceptText || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("a target is asked with %v", r.Header)
		}
		_, _ = w.Write(body)
	}))
	defer exporter.Close()
	f := newFanOut(nil)
	for range targets {
		f.urls = append(f.urls, exporter.URL)
	}
	for _, coding := range []string{"", "gzip"} {
		if got := len(askYardstick(t, f, join, coding)); got != targets*len(body) {
			t.Errorf("join answers %d bytes, want %d", got, targets*len(body))
		}
		series := parseSeries(t, askYardstick(t, f, mergeFamilies, coding), textType)
		if got, want := len(series), targets*countSamples(body); got != want {
			t.Errorf("expfmt answers %d series, want %d", got, want)
		}
	}
}

// askYardstick returns the plain answer.
func askYardstick(t *testing.T, f *fanOut, aggregate aggregator, coding string) []byte {
	t.Helper()
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", acceptText)
	request.Header.Set("Accept-Encoding", coding)
	if err := f.answer(recorder, request, aggregate); err != nil {
		t.Fatal(err)
	}
	var plain io.Reader = recorder.Body
	if recorder.Header().Get("Content-Encoding") != coding {
		t.Fatalf("the answer is coded as %q, want %q", recorder.Header().Get("Content-Encoding"), coding)
	}
	if coding == "gzip" {
		var err error
		if plain, err = gzip.NewReader(recorder.Body); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestYardsticksFailWithATarget(t *testing.T) {
	exporter := httptest.NewServer(http.NotFoundHandler())
	defer exporter.Close()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	for _, aggregate := range []aggregator{join, mergeFamilies} {
		if err := newFanOut([]string{exporter.URL}).answer(httptest.NewRecorder(), request, aggregate); err == nil {
			t.Error("an answer without a target's")
		}
	}
}
