package exporter

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Hang takes the request and never answers.
func Hang() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	})
}

// Stall answers the header and some samples, and then nothing more.
func Stall() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		_, _ = w.Write([]byte("stalled_total 1\nstalled_more"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
}

// Reset answers with a TCP reset instead of HTTP.
func Reset() http.Handler { return resetAfter("") }

// ResetInBody answers the header and some samples, and then a TCP reset.
func ResetInBody() http.Handler {
	return resetAfter("HTTP/1.1 200 OK\r\nContent-Type: " + TextFormat +
		"\r\nContent-Length: 1000\r\n\r\nreset_total 1\n")
}

func resetAfter(answer string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err) // HTTP/2 is never negotiated here
		}
		_, _ = conn.Write([]byte(answer))
		_ = conn.(*net.TCPConn).SetLinger(0) // makes Close a reset
		_ = conn.Close()
	})
}

// Status answers with the code and a valid body, which nobody may use.
func Status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		w.WriteHeader(code)
		_, _ = w.Write([]byte("status_total 1\n"))
	})
}

// Redirect answers 302 to the target.
func Redirect(target string) http.Handler { return http.RedirectHandler(target, http.StatusFound) }

// HTML answers 200 with a page.
func HTML() http.Handler {
	return constant("text/html; charset=utf-8", "<!DOCTYPE html><title>Sign in</title><p>Please sign in.\n")
}

// Garbage answers 200 and the right media type with what is no exposition, after a
// good line.
func Garbage() http.Handler {
	return constant(TextFormat, "garbage_total 1\n{{ this is not an exposition }}\n")
}

// BlankContentType answers with valid samples and no media type.
func BlankContentType() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil // else the server guesses one
		_, _ = w.Write([]byte("untyped_total 1\n"))
	})
}

func constant(mediaType, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write([]byte(body))
	})
}

// Truncated announces a longer body than it sends. What it sends ends in the middle
// of a number, so that it reads as a whole exposition with a wrong value.
func Truncated() http.Handler {
	const whole, sent = "cut_a_total 1\ncut_b_total 12345\n", "cut_a_total 1\ncut_b_total 123"
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		_, _ = w.Write([]byte(sent))
	})
}

// TruncatedChunked sends whole lines in chunks and closes before the last chunk.
func TruncatedChunked() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		_, _ = w.Write([]byte("cut_a_total 1\ncut_b_total 12345\n"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
}

// Drip sends valid samples, a byte every 100 ms, for ever.
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

// Endless sends valid samples, each a series of its own, as fast as they are taken,
// for ever.
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
