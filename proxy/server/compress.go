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

// smallAnswer is the length up to which compressing an answer is not worth it.
const smallAnswer = 1 << 10

// encoders are those of one Server, to be used again. Each is for one answer at a
// time.
type encoders struct{ gzip, zstd sync.Pool }

// encoder is a gzip.Writer or a zstd.Encoder.
type encoder interface {
	io.WriteCloser
	Reset(io.Writer)
}

// take returns an encoder for the content coding, gzip or zstd, and how to give it
// back.
func (e *encoders) take(coding string, w io.Writer) (encoder, func()) {
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
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // errs on an unknown level only
	return w
}

func newZstd() encoder {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)) // errs on a bad option only
	return w
}

// contentCoding chooses among gzip and zstd by an Accept-Encoding header: the one
// with the highest q, the first of equals. It returns nothing for neither, and for
// *: a client that does not name zstd may not know it.
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

// writeEncoded writes what write gives to w, compressed if the client asks for it and
// the answer is not small. write must give a small answer in one piece.
func (e *encoders) writeEncoded(w http.ResponseWriter, accept string, write func(io.Writer) (int64, error)) (int64, error) {
	w.Header().Add("Vary", "Accept, Accept-Encoding")
	out := &encodedResponse{w: w, coding: contentCoding(accept), encoders: e}
	n, err := write(out)
	if closeErr := out.close(); err == nil {
		err = closeErr
	}
	return n, err
}

// encodedResponse decides with the first piece whether to compress.
type encodedResponse struct {
	w        http.ResponseWriter
	coding   string // empty = none
	encoders *encoders
	enc      encoder // nil before the first piece, or for none
	giveBack func()
}

func (r *encodedResponse) Write(p []byte) (int, error) {
	if r.enc == nil && r.coding != "" {
		if len(p) <= smallAnswer {
			r.coding = ""
		} else {
			r.w.Header().Set("Content-Encoding", r.coding)
			r.enc, r.giveBack = r.encoders.take(r.coding, r.w)
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
	defer r.giveBack()
	return r.enc.Close()
}
