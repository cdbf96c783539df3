package server

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func TestContentCoding(t *testing.T) {
	for accept, want := range map[string]string{
		"":                      "",
		"identity":              "",
		"*":                     "",
		"br":                    "",
		"gzip":                  "gzip",
		" GZIP ; q=0.5":         "gzip",
		"zstd,gzip":             "zstd", // the first of equals
		"gzip,zstd":             "gzip",
		"gzip;q=0.5, zstd;q=1":  "zstd",
		"gzip;q=0":              "",
		"gzip;q=high":           "",
		"gzip;Q=0":              "",
		"gzip; Q=0.5, zstd":     "zstd",
		"zstd;q=0,gzip;q=0.001": "gzip",
	} {
		if got := contentCoding(accept); got != want {
			t.Errorf("Accept-Encoding %q: got %q, want %q", accept, got, want)
		}
	}
}

// TestHeaderLines checks that several lines of a header count as one list.
func TestHeaderLines(t *testing.T) {
	pod, _ := newTarget(t, "a", "m{x=\""+strings.Repeat("long", 1000)+"\"} 1\n")
	s, _, _ := newServer(t, pod)
	for _, lines := range []http.Header{
		{"Accept": {"text/html", "application/openmetrics-text;version=1.0.0"}, "Accept-Encoding": {"br", "gzip"}},
		{"Accept": {"text/plain;q=0.1", "application/openmetrics-text;version=1.0.0"}, "Accept-Encoding": {"zstd;q=0.1", "gzip"}},
	} {
		w := get(t, s.Handler(), "/metrics", lines)
		if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text; version=1.0.0;") {
			t.Errorf("%v: got Content-Type %q, want OpenMetrics", lines, got)
		}
		if got := w.Header().Get("Content-Encoding"); got != "gzip" {
			t.Errorf("%v: got Content-Encoding %q, want gzip", lines, got)
		}
	}
}

// TestWriteEncoded checks that responses are compressed as requested, unless they are small,
// and that encoders can be reused.
func TestWriteEncoded(t *testing.T) {
	var e encoders
	for _, text := range []string{"", "small", strings.Repeat("long ", 1000), strings.Repeat("longer ", 1000)} {
		for _, coding := range []string{"", "gzip", "zstd", "gzip", "zstd"} {
			w := httptest.NewRecorder()
			n, err := e.writeEncoded(w, coding, func(w io.Writer) (int64, error) {
				n, err := io.WriteString(w, text)
				return int64(n), err
			})
			if err != nil || n != int64(len(text)) {
				t.Fatalf("%s: wrote %d bytes, error %v", coding, n, err)
			}
			want := coding
			if len(text) < 1000 {
				want = ""
			}
			if got := w.Header().Get("Content-Encoding"); got != want {
				t.Errorf("%d bytes for %q: got Content-Encoding %q, want %q", len(text), coding, got, want)
			}
			if got := decode(t, want, w.Body); got != text {
				t.Errorf("%d bytes for %q were decoded to %d bytes", len(text), coding, len(got))
			}
		}
	}
}

func decode(t *testing.T, coding string, body *bytes.Buffer) string {
	t.Helper()
	var r io.Reader = body
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(body)
	case "zstd":
		r, err = zstd.NewReader(body)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
