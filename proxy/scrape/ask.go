package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// patience is how long a body may be waited for, in all, before it gives its place among
// those being read to another: a dripping target must not delay the others.
const patience = 20 * time.Millisecond

// ask makes one request and reads the answer. The number of bytes is that of the
// decoded body, as far as it was read, also if there is an error.
func (c *Client) ask(ctx context.Context, t *target.Target, header http.Header, opts exposition.Options) (*exposition.Body, int64, error) {
	if err := take(ctx, c.inFlight); err != nil {
		return nil, 0, notAskedError(cap(c.inFlight))
	}
	defer give(c.inFlight)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header = header
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, 0, late(ctx, err, "the answer began")
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, statusError(resp.Status)
	}
	opts.ContentType = resp.Header.Get("Content-Type")
	body, n, err := c.read(ctx, resp, opts)
	return body, n, late(ctx, err, "the answer ended")
}

// header is what all targets of a scrape are asked with. Requests share it.
func (c *Client) header(ctx context.Context, req Request) http.Header {
	h := http.Header{}
	h.Set("Accept", req.Format.Accept())
	h.Set("Accept-Encoding", "identity")
	h.Set("User-Agent", c.opts.UserAgent)
	if deadline, ok := ctx.Deadline(); ok {
		h.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(time.Until(deadline).Seconds(), 'f', 3, 64))
	}
	if len(req.Via) > 0 {
		h[ViaHeader] = req.Via
	}
	return h
}

// read reads, decodes, checks and indexes the body of an answer.
func (c *Client) read(ctx context.Context, resp *http.Response, opts exposition.Options) (*exposition.Body, int64, error) {
	if resp.ContentLength > c.opts.BodySizeLimit {
		return nil, 0, tooLargeError(c.opts.BodySizeLimit)
	}
	if err := take(ctx, c.reading); err != nil {
		return nil, 0, err
	}
	release := sync.OnceFunc(func() { give(c.reading) })
	defer release()
	resp.Body = newPatientBody(resp.Body, release)
	decoded, err := c.decode(resp)
	if err != nil {
		return nil, 0, err
	}
	limited := newLimitedReader(decoded, c.opts.BodySizeLimit)
	body, err := c.reader.Read(limited, opts)
	return body, limited.limit - limited.left, err
}

// decode undoes the Content-Encoding, which nobody asked for. The encoded body is
// bounded as the decoded one is by read.
func (c *Client) decode(resp *http.Response) (io.Reader, error) {
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return resp.Body, nil
	case "gzip", "x-gzip":
		wire := &wireReader{r: newLimitedReader(resp.Body, c.opts.BodySizeLimit)}
		decoded, err := gzip.NewReader(wire)
		if err != nil {
			return nil, wire.cause(err)
		}
		return encodedReader{decoded, wire}, nil
	default:
		return nil, encodingError{fmt.Errorf("cannot decode Content-Encoding %.80q", encoding)}
	}
}

// patientBody calls a function when it has been waited for too long.
type patientBody struct {
	io.ReadCloser
	impatient func()
	timer     *time.Timer // of impatient
	left      time.Duration
}

func newPatientBody(body io.ReadCloser, impatient func()) *patientBody {
	timer := time.AfterFunc(patience, impatient)
	timer.Stop()
	return &patientBody{body, impatient, timer, patience}
}

func (b *patientBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return b.ReadCloser.Read(p)
	}
	start := time.Now()
	b.timer.Reset(b.left)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if b.left -= time.Since(start); b.left <= 0 { // the timer may be late
		b.impatient()
	}
	return n, err
}

// take takes a place, or fails when ctx ends. A nil channel has places for all.
func take(ctx context.Context, places chan struct{}) error {
	if places == nil {
		return nil
	}
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func give(places chan struct{}) {
	if places != nil {
		<-places
	}
}

// limitedReader fails with a tooLargeError past a number of bytes.
type limitedReader struct {
	r           io.Reader
	limit, left int64
}

func newLimitedReader(r io.Reader, limit int64) *limitedReader {
	return &limitedReader{r: r, limit: limit, left: limit}
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		l.left = 0
		return 0, tooLargeError(l.limit)
	}
	l.left -= int64(n)
	return n, err
}

// wireReader remembers why the body could not be read to its end.
type wireReader struct {
	r   io.Reader
	err error
}

func (w *wireReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// cause tells a body that could not be read from one that could not be decoded,
// which a decoder does not.
func (w *wireReader) cause(err error) error {
	if w.err != nil {
		return w.err
	}
	return encodingError{fmt.Errorf("cannot decode gzip: %w", err)}
}

// encodedReader reads what a decoder gives, with the causes of its errors.
type encodedReader struct {
	decoded io.Reader
	wire    *wireReader
}

func (e encodedReader) Read(p []byte) (int, error) {
	n, err := e.decoded.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = e.wire.cause(err)
	}
	return n, err
}
