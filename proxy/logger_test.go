package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// TestLogLines checks that a line is short, valid and informative, whatever its values are.
func TestLogLines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	bytesOf := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.UintN(256))
		}
		return string(b)
	}
	many := []any{"n", 1}
	for i := range 300 {
		many = append(many, fmt.Sprint("key_", i), strings.Repeat("v", 100))
	}
	for name, args := range map[string][]any{
		"long string":         {"family", strings.Repeat("x", 300_000)},
		"long error":          {"err", errors.New(strings.Repeat("x", 300_000)), "url", "http://a"},
		"long list":           {"names", strings.Split(strings.Repeat("name ", 5000), " ")},
		"quotes":              {"family", strings.Repeat(`"`, 3000)},
		"backslashes":         {"family", strings.Repeat(`\`, 3000)},
		"control characters":  {"family", strings.Repeat("\x01", 3000)},
		"newlines":            {"family", strings.Repeat("\n", 3000)},
		"invalid UTF-8":       {"family", strings.Repeat("\xff", 3000)},
		"not printable":       {"family", strings.Repeat("\U0010ffff", 3000)},
		"line separators":     {"family", strings.Repeat("\u2028", 3000)},
		"multibyte":           {"family", strings.Repeat("é", 3000)},
		"random":              {"family", bytesOf(3000), "targets", bytesOf(3000), "err", errors.New(bytesOf(3000))},
		"many long values":    {"a", bytesOf(900), "b", bytesOf(900), "c", bytesOf(900), "d", bytesOf(900), "e", bytesOf(900), "f", bytesOf(900)},
		"too many attributes": many,
	} {
		for _, format := range []config.Format{"logfmt", "json"} {
			var out strings.Builder
			logger := newLogger(&out, config.Log{Format: format})
			logger.With("namespace", strings.Repeat("n", 2000)).WithGroup("g").Warn("message", args...)
			logger.Warn("message", args...)
			for _, line := range strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n") {
				if len(line) >= maxLogLine || !utf8.ValidString(line) || !strings.Contains(line, "message") || !strings.Contains(line, "WARN") {
					t.Errorf("%s, %s: got a line of %d bytes, want less than %d: %q", name, format, len(line), maxLogLine, line)
				}
				if format == "json" && !json.Valid([]byte(line)) {
					t.Errorf("%s: not valid JSON: %s", name, line)
				}
			}
			if got := strings.Count(out.String(), "\n"); got != 2 {
				t.Errorf("%s, %s: got %d lines, want 2", name, format, got)
			}
		}
	}
}

// TestLogLineKeepsShortValues checks that only values that are too long are shortened.
func TestLogLineKeepsShortValues(t *testing.T) {
	var out strings.Builder
	logger := newLogger(&out, config.Log{Format: "logfmt"})
	logger.With("pod", "web-0").Warn("target is down", "url", "http://10.0.0.1/"+strings.Repeat("p", 2000), "err", error(nil), "bytes", 7, "why", strings.Repeat("w", 300))
	for _, want := range []string{"pod=web-0", "url=http://10.0.0.1/p", `p... err=<nil>`, "bytes=7", "why=" + strings.Repeat("w", 300) + "\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("logged %q, want it to contain %q", out.String(), want)
		}
	}
}

// blockedWriter is a full pipe: it accepts nothing until it is opened.
type blockedWriter struct {
	open    chan struct{}
	mu      sync.Mutex
	written bytes.Buffer
}

func (w *blockedWriter) Write(p []byte) (int, error) {
	<-w.open
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written.Write(p)
}

// TestLogQueueBlocked checks that logging to a full pipe neither waits nor grows, and that the
// number of dropped lines is logged once the pipe is open again.
func TestLogQueueBlocked(t *testing.T) {
	out := &blockedWriter{open: make(chan struct{})}
	q := newLogQueue(out)
	logger := newLogger(q, config.Log{Format: "logfmt"})
	const lines = 10_000
	for i := range lines {
		logger.Info("line", "i", i, "text", strings.Repeat("x", 200))
	}
	start := time.Now()
	q.Flush(10 * time.Millisecond)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Flush of a full pipe took %s", took)
	}
	q.mu.Lock()
	if got := cap(q.pending); got > 2*maxPendingLog {
		t.Errorf("the queue keeps %d bytes, want about %d", got, maxPendingLog)
	}
	q.mu.Unlock()
	close(out.open)
	q.Flush(time.Minute)
	logger.Info("the last line")
	q.Flush(time.Minute)
	out.mu.Lock()
	defer out.mu.Unlock()
	got := strings.SplitAfter(strings.TrimSuffix(out.written.String(), "\n"), "\n")
	kept, dropped := 0, 0
	for _, line := range got {
		if strings.Contains(line, "log lines dropped") {
			var n int
			if _, err := fmt.Sscanf(line[strings.LastIndex(line, " ")+1:], "lines=%d", &n); err != nil || !strings.Contains(line, "level=WARN") {
				t.Errorf("%q: %v", line, err)
			}
			dropped += n
			continue
		}
		kept++
	}
	if kept+dropped != lines+1 || kept < 500 || dropped == 0 || !strings.Contains(got[len(got)-1], "the last line") {
		t.Errorf("%d lines were written and %d reported as dropped, want %d in all, and the last one written: %q", kept, dropped, lines+1, got[len(got)-1])
	}
}

// TestLogQueueOrder checks that nothing is lost or reordered if the writer accepts it.
func TestLogQueueOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		q := newLogQueue(w)
		read := make(chan string)
		go func() {
			all, _ := io.ReadAll(r)
			read <- string(all)
		}()
		logger := slog.New(slog.NewTextHandler(q, nil))
		var want []string
		for i := range 1000 {
			logger.Info("line", "i", i)
			want = append(want, fmt.Sprintf("msg=line i=%d\n", i))
		}
		q.Flush(time.Minute)
		_ = w.Close()
		got := <-read
		for _, line := range want {
			before, after, ok := strings.Cut(got, line)
			if !ok || strings.Count(before, "\n") > 0 {
				t.Fatalf("missing or out of order: %q", line)
			}
			got = after
		}
		close(q.wake) // so that the goroutine ends within the test
	})
}
