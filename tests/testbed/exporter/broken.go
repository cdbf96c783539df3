package exporter

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Hang accepts the request and never responds.
func Hang() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	})
}

// Stall sends the headers and some samples, and then nothing more.
func Stall() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		_, _ = w.Write([]byte("stalled_total 1\nstalled_more"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
}

// Reset resets the TCP connection instead of responding.
func Reset() http.Handler { return resetAfter("") }

// ResetInBody sends the headers and some samples, and then resets the TCP connection.
func ResetInBody() http.Handler {
	return resetAfter("HTTP/1.1 200 OK\r\nContent-Type: " + TextFormat +
		"\r\nContent-Length: 1000\r\n\r\nreset_total 1\n")
}

func resetAfter(response string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err) // cannot happen: the server does not negotiate HTTP/2
		}
		_, _ = conn.Write([]byte(response))
		_ = conn.(*net.TCPConn).SetLinger(0) // so that Close resets the connection
		_ = conn.Close()
	})
}

// Status responds with the status code and a valid body, which must be ignored.
func Status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		w.WriteHeader(code)
		_, _ = w.Write([]byte("status_total 1\n"))
	})
}

// Redirect responds with 302 and the target as Location.
func Redirect(target string) http.Handler { return http.RedirectHandler(target, http.StatusFound) }

// HTML responds with 200 and an HTML page.
func HTML() http.Handler {
	return constant("text/html; charset=utf-8", "<!DOCTYPE html><title>Sign in</title><p>Please sign in.\n")
}

// Garbage responds with 200 and a valid Content-Type. The body has a valid line, followed by
// an invalid one.
func Garbage() http.Handler {
	return constant(TextFormat, "garbage_total 1\n{{ this is not an exposition }}\n")
}

// BlankContentType responds with valid samples and no Content-Type.
func BlankContentType() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil // otherwise the server detects one
		_, _ = w.Write([]byte("untyped_total 1\n"))
	})
}

func constant(mediaType, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write([]byte(body))
	})
}

// Truncated sends less than its Content-Length. The body ends within a number, so it is a
// valid exposition with a wrong value.
func Truncated() http.Handler {
	const complete, sent = "cut_a_total 1\ncut_b_total 12345\n", "cut_a_total 1\ncut_b_total 123"
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		w.Header().Set("Content-Length", strconv.Itoa(len(complete)))
		_, _ = w.Write([]byte(sent))
	})
}

// TruncatedChunked sends complete lines with chunked encoding, and closes the connection
// before the last chunk.
func TruncatedChunked() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		_, _ = w.Write([]byte("cut_a_total 1\ncut_b_total 12345\n"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
}

// Drip sends valid samples, one byte every 100 ms, without end.
func Drip() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for n := 0; ; n++ {
			for _, b := range fmt.Appendf(nil, "drip{n=\"%d\"} 1\n", n) {
				_, err := w.Write([]byte{b})
				if err != nil || http.NewResponseController(w).Flush() != nil {
					return
				}
				select {
				case <-r.Context().Done():
					return
				case <-ticker.C:
				}
			}
		}
	})
}

// Endless sends valid samples, each of a new series, as fast as the client reads them,
// without end.
func Endless() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		buffered := bufio.NewWriterSize(w, 1<<16)
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(buffered, "endless{n=\"%d\"} 1\n", n); err != nil {
				return
			}
		}
	})
}
