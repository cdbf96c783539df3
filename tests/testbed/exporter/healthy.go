package exporter

import (
	"net/http"
	"strconv"
)

// TextFormat is the media type of text 0.0.4 as exporters send it.
const TextFormat = "text/plain; version=0.0.4; charset=utf-8"

// Replay answers with the body as text 0.0.4. The body must not be modified afterwards.
func Replay(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

// Empty answers 200 with no body, which is a valid exposition of nothing.
func Empty() http.Handler { return Replay(nil) }
