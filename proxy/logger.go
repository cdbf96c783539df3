package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// maxLogLine is the length in bytes that a log line stays below, with its newline.
const maxLogLine = 1 << 10

// newLogger creates the logger of the program. Each record is one Write to w, of less than
// maxLogLine bytes. If w is a logQueue, the logger reports the lines that the queue drops.
func newLogger(w io.Writer, l config.Log) *slog.Logger {
	logger := slog.New(newLineHandler(w, l))
	if q, ok := w.(*logQueue); ok {
		direct := slog.New(newLineHandler(q.out, l))
		q.onDrop(func(lines int) {
			direct.Warn("log lines dropped, because stderr did not accept them in time", "lines", lines)
		})
	}
	return logger
}

// lineHandler is a slog.Handler that shortens the values of a record until its line is shorter
// than maxLogLine, the longest values first.
type lineHandler struct {
	line     *line
	handlers []slog.Handler // the same handler with smaller and smaller limits of a value
	bare     slog.Handler   // for a record without attributes, if nothing else is short enough
}

// line is where the handlers format a record.
type line struct {
	mu  sync.Mutex // guards the fields below
	buf bytes.Buffer
	out io.Writer
}

func newLineHandler(out io.Writer, l config.Log) *lineHandler {
	h := &lineHandler{line: &line{out: out}}
	for _, limit := range []int{700, 500, 350, 250, 150, 80, 40} {
		opts := &slog.HandlerOptions{Level: slog.Level(l.Level), ReplaceAttr: shortenTo(limit)}
		if l.Format == "json" {
			h.handlers = append(h.handlers, slog.NewJSONHandler(&h.line.buf, opts))
		} else {
			h.handlers = append(h.handlers, slog.NewTextHandler(&h.line.buf, opts))
		}
	}
	h.bare = h.handlers[0]
	return h
}

func (h *lineHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.bare.Enabled(ctx, level)
}

func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	buf := &h.line.buf
	buf.Reset()
	for _, handler := range h.handlers {
		buf.Reset()
		if err := handler.Handle(ctx, r); err != nil {
			return err
		}
		if buf.Len() < maxLogLine {
			break
		}
	}
	if buf.Len() >= maxLogLine {
		buf.Reset()
		if err := h.bare.Handle(ctx, slog.NewRecord(r.Time, r.Level, r.Message, r.PC)); err != nil {
			return err
		}
	}
	_, err := h.line.out.Write(buf.Bytes())
	return err
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(one slog.Handler) slog.Handler { return one.WithAttrs(attrs) })
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	return h.with(func(one slog.Handler) slog.Handler { return one.WithGroup(name) })
}

func (h *lineHandler) with(change func(slog.Handler) slog.Handler) slog.Handler {
	changed := &lineHandler{line: h.line, bare: h.bare}
	for _, one := range h.handlers {
		changed.handlers = append(changed.handlers, change(one))
	}
	return changed
}

// shortenTo returns a slog.HandlerOptions.ReplaceAttr that limits the length of a value in a
// line, in bytes.
func shortenTo(limit int) func([]string, slog.Attr) slog.Attr {
	return func(_ []string, a slog.Attr) slog.Attr {
		var text string
		switch a.Value.Kind() {
		case slog.KindString:
			text = a.Value.String()
		case slog.KindAny:
			text = fmt.Sprintf("%+v", a.Value.Any())
		default: // numbers, times and the like are short
			return a
		}
		if short := shorten(text, limit); len(short) < len(text) {
			a.Value = slog.StringValue(short + "...")
		}
		return a
	}
}

// shorten returns the longest beginning of text that takes at most limit bytes in a line,
// where quotes and what cannot be printed are escaped. It does not cut through a character.
func shorten(text string, limit int) string {
	for i, r := range text {
		switch {
		case r == '"' || r == '\\':
			limit -= 2
		case r == utf8.RuneError || !unicode.IsPrint(r):
			limit -= 10 // \U0010ffff
		default:
			limit -= utf8.RuneLen(r)
		}
		if limit < 0 {
			return text[:i]
		}
	}
	return text
}
