package exporter

import (
	"net/http"
	"strconv"
)

// TextFormat is the Content-Type of the text format 0.0.4, as exporters send it.
const TextFormat = "text/plain; version=0.0.4; charset=utf-8"

// Replay responds with the body, in the text format 0.0.4. The caller must not modify the
// body afterwards.
func Replay(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

// Empty responds with 200 and an empty body, which is a valid exposition without samples.
func Empty() http.Handler { return Replay(nil) }
