package exporter_test

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

func TestReplay(t *testing.T) {
	server := start(t, exporter.Replay([]byte("a 1\n")))
	got := fetch(t, server, time.Second)
	if want := (result{200, exporter.TextFormat, "a 1\n", nil}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := server.Requests(); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestBroken(t *testing.T) {
	text, timeout := exporter.TextFormat, os.ErrDeadlineExceeded
	want := map[string]result{ // body is a prefix
		"hang":               {0, "", "", timeout},
		"stall":              {200, text, "stalled_total 1\nstalled_more", timeout},
		"reset":              {0, "", "", syscall.ECONNRESET},
		"reset-in-body":      {200, text, "", syscall.ECONNRESET},
		"status-500":         {500, text, "status_total 1\n", nil},
		"redirect":           {302, "text/html; charset=utf-8", "<a href=\"/healthy\"", nil},
		"html":               {200, "text/html; charset=utf-8", "<!DOCTYPE html>", nil},
		"truncated":          {200, text, "cut_a_total 1\ncut_b_total 123", io.ErrUnexpectedEOF},
		"truncated-chunked":  {200, text, "cut_a_total 1\ncut_b_total 12345\n", io.ErrUnexpectedEOF},
		"drip":               {200, text, "d", timeout},
		"zip-bomb":           {200, text, "\x1f\x8b", nil},
		"endless":            {200, text, "endless{n=\"0\"} 1\nendless{n=\"1\"} 1\n", timeout},
		"garbage":            {200, text, "garbage_total 1\n{{", nil},
		"blank-content-type": {200, "", "untyped_total 1\n", nil},
	}
	for _, test := range exporter.Broken() {
		t.Run(test.Name, func(t *testing.T) {
			got, want := fetch(t, start(t, test.Handler), 300*time.Millisecond), want[test.Name]
			if got.status != want.status || got.contentType != want.contentType ||
				!strings.HasPrefix(got.body, want.body) || !isError(got.err, want.err) {
				t.Errorf("got %d %q %.60q %v, want %+v", got.status, got.contentType, got.body, got.err, want)
			}
		})
	}
}

func isError(err, want error) bool {
	if errors.Is(want, os.ErrDeadlineExceeded) {
		return os.IsTimeout(err)
	}
	return errors.Is(err, want)
}

func TestZipBomb(t *testing.T) {
	got := fetch(t, start(t, exporter.ZipBomb()), 10*time.Second)
	if got.err != nil || len(got.body) > 2<<20 {
		t.Fatalf("%d bytes, error %v", len(got.body), got.err)
	}
	reader, err := gzip.NewReader(strings.NewReader(got.body))
	if err != nil {
		t.Fatal(err)
	}
	size, err := io.Copy(io.Discard, reader) // checks size and checksum
	if err != nil || size < exporter.ZipBombSize {
		t.Errorf("%d bytes of gzip decompress to %d, error %v", len(got.body), size, err)
	}
}

func start(t *testing.T, handler http.Handler) *exporter.Server {
	t.Helper()
	server, err := exporter.Start("127.10.255.1:0", handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// A result is the part of the response that was received, and the error if it is incomplete.
type result struct {
	status      int // 0 if no header was received
	contentType string
	body        string
	err         error
}

func fetch(t *testing.T, server *exporter.Server, timeout time.Duration) result {
	t.Helper()
	client := http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Get("http://" + server.Address())
	if err != nil {
		return result{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return result{response.StatusCode, response.Header.Get("Content-Type"), string(body), err}
}
