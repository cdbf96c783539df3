package server

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// smallResponse is the maximum length of a response that is not compressed, in bytes.
const smallResponse = 1 << 10

// encoders is a pool of encoders. Safe for concurrent use; each encoder serves one response
// at a time.
type encoders struct{ gzip, zstd sync.Pool }

// encoder is a gzip.Writer or a zstd.Encoder.
type encoder interface {
	io.WriteCloser
	Reset(io.Writer)
}

// get returns an encoder for the content coding, gzip or zstd, and a function that returns it
// to the pool.
func (e *encoders) get(coding string, w io.Writer) (encoder, func()) {
	pool, make := &e.gzip, newGzip
	if coding == "zstd" {
		pool, make = &e.zstd, newZstd
	}
	enc, ok := pool.Get().(encoder)
	if !ok {
		enc = make()
	}
	enc.Reset(w)
	return enc, func() { pool.Put(enc) }
}

func newGzip() encoder {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only for an unknown level
	return w
}

func newZstd() encoder {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)) // fails only for an invalid option
	return w
}

// contentCoding returns the coding that an Accept-Encoding header prefers: gzip or zstd,
// whichever has the highest q, or the first of them if q is equal. It returns an empty string
// if the header names neither. It ignores *, because a client that does not name zstd may not
// support it.
func contentCoding(accept string) string {
	best, bestQ := "", 0.0
	for clause := range strings.SplitSeq(accept, ",") {
		coding, params, _ := strings.Cut(clause, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		q := 1.0
		if name, s, ok := strings.Cut(strings.TrimSpace(params), "="); ok && strings.EqualFold(name, "q") {
			var err error
			if q, err = strconv.ParseFloat(s, 64); err != nil {
				continue
			}
		}
		if (coding == "gzip" || coding == "zstd") && q > bestQ {
			best, bestQ = coding, q
		}
	}
	return best
}

// writeEncoded writes the output of write to w, compressed if the Accept-Encoding header
// accepts that and the response is not small. write must write a small response in one call.
// writeEncoded returns what write returns: the number of bytes before compression.
func (e *encoders) writeEncoded(w http.ResponseWriter, accept string, write func(io.Writer) (int64, error)) (int64, error) {
	w.Header().Add("Vary", "Accept, Accept-Encoding")
	out := &encodedResponse{w: w, coding: contentCoding(accept), encoders: e}
	n, err := write(out)
	if closeErr := out.close(); err == nil {
		err = closeErr
	}
	return n, err
}

// encodedResponse decides on the first write whether to compress.
type encodedResponse struct {
	w        http.ResponseWriter
	coding   string // empty = none
	encoders *encoders
	enc      encoder // nil before the first write, or without compression
	putBack  func()
}

func (r *encodedResponse) Write(p []byte) (int, error) {
	if r.enc == nil && r.coding != "" {
		if len(p) <= smallResponse {
			r.coding = ""
		} else {
			r.w.Header().Set("Content-Encoding", r.coding)
			r.enc, r.putBack = r.encoders.get(r.coding, r.w)
		}
	}
	if r.enc == nil {
		return r.w.Write(p)
	}
	return r.enc.Write(p)
}

func (r *encodedResponse) close() error {
	if r.enc == nil {
		return nil
	}
	defer r.putBack()
	return r.enc.Close()
}
