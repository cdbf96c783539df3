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

// ask scrapes one target by its profile, when there is a place in flight. The number of
// bytes is that of the decoded body, as far as it was read, also if there is an error.
func (c *Client) ask(ctx context.Context, t *target.Target, header http.Header, opts exposition.Options) (*exposition.Body, int64, error) {
	if err := take(ctx, c.inFlight); err != nil {
		return nil, 0, notAskedError(cap(c.inFlight))
	}
	defer give(c.inFlight)
	profile := c.profileOf(t)
	whole := ctx
	if profile.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, profile.Timeout)
		defer cancel()
		header = header.Clone()
		setTimeout(ctx, header)
	}
	opts.Done, opts.MaxSamples = ctx.Done(), profile.SampleLimit
	body, n, err := c.get(ctx, t.URL, profile, header, opts)
	switch {
	case err == nil || ctx.Err() == nil:
		return body, n, err
	case whole.Err() == nil:
		err = fmt.Errorf("the target's own timeout is %s: %w", profile.Timeout, err)
	}
	return body, n, deadlineError{err}
}

// get makes one request and reads the response.
func (c *Client) get(ctx context.Context, url string, profile target.Profile, header http.Header, opts exposition.Options) (*exposition.Body, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header = header
	resp, err := profile.Transport.RoundTrip(req)
	if err != nil {
		return nil, 0, late(ctx, err, "the answer began")
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, statusError(resp.Status)
	}
	body, n, err := c.read(ctx, resp, profile, opts)
	return body, n, late(ctx, err, "the answer ended")
}

// header is what all targets of a scrape are asked with. Requests share it.
func (c *Client) header(ctx context.Context, req Request) http.Header {
	h := http.Header{}
	h.Set("Accept", req.Format.Accept())
	h.Set("Accept-Encoding", "identity")
	h.Set("User-Agent", c.opts.UserAgent)
	setTimeout(ctx, h)
	if len(req.Via) > 0 {
		h[ViaHeader] = req.Via
	}
	return h
}

// setTimeout sets how long the target has, as Prometheus does.
func setTimeout(ctx context.Context, h http.Header) {
	if deadline, ok := ctx.Deadline(); ok {
		h.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(time.Until(deadline).Seconds(), 'f', 3, 64))
	}
}

// read reads, decodes, translates, checks and indexes the body of a response.
func (c *Client) read(ctx context.Context, resp *http.Response, profile target.Profile, opts exposition.Options) (*exposition.Body, int64, error) {
	limit := profile.BodySizeLimit
	if resp.ContentLength > limit {
		return nil, 0, tooLargeError(limit)
	}
	if err := take(ctx, c.reading); err != nil {
		return nil, 0, err
	}
	release := sync.OnceFunc(func() { give(c.reading) })
	defer release()
	resp.Body = newPatientBody(resp.Body, release)
	decoded, err := decode(resp, limit)
	if err != nil {
		return nil, 0, err
	}
	limited := newLimitedReader(decoded, limit)
	opts.ContentType = resp.Header.Get("Content-Type")
	exposed := io.Reader(limited)
	if profile.Translate != nil {
		if exposed, err = translate(profile, opts.ContentType, limited); err != nil {
			return nil, limited.count(), err
		}
		opts.ContentType = "text/plain; version=0.0.4"
	}
	body, err := c.reader.Read(exposed, opts)
	return body, limited.count(), err
}

// decode undoes the Content-Encoding, which nobody asked for. The encoded body is
// bounded as the decoded one is by read.
func decode(resp *http.Response, limit int64) (io.Reader, error) {
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return resp.Body, nil
	case "gzip", "x-gzip":
		return derive(newLimitedReader(resp.Body, limit), func(wire io.Reader) (io.Reader, error) { return gzip.NewReader(wire) },
			func(err error) error { return encodingError{fmt.Errorf("cannot decode gzip: %w", err)} })
	default:
		return nil, encodingError{fmt.Errorf("cannot decode Content-Encoding %.80q", encoding)}
	}
}

// translate makes an exposition of a body, bounded as the body is.
func translate(profile target.Profile, contentType string, body io.Reader) (io.Reader, error) {
	translated, err := derive(body, func(body io.Reader) (io.Reader, error) { return profile.Translate(contentType, body) },
		func(err error) error { return translateError{fmt.Errorf("cannot translate the body: %w", err)} })
	if err != nil {
		return nil, err
	}
	return newLimitedReader(translated, profile.BodySizeLimit), nil
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

// count is how many bytes have been read.
func (l *limitedReader) count() int64 { return l.limit - l.left }

// derivedReader reads what a decoder or translator derives from a source. Its errors are
// those of the source if that could not be read, which a decoder does not tell apart, and
// else faults.
type derivedReader struct {
	derived io.Reader
	source  *sourceReader
	fault   func(error) error
}

// derive makes a derivedReader.
func derive(source io.Reader, from func(io.Reader) (io.Reader, error), fault func(error) error) (io.Reader, error) {
	d := derivedReader{source: &sourceReader{r: source}, fault: fault}
	var err error
	if d.derived, err = from(d.source); err != nil {
		return nil, d.cause(err)
	}
	return d, nil
}

func (d derivedReader) Read(p []byte) (int, error) {
	n, err := d.derived.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.cause(err)
	}
	return n, err
}

func (d derivedReader) cause(err error) error {
	if d.source.err != nil {
		return d.source.err
	}
	return d.fault(err)
}

// sourceReader remembers why the source could not be read to its end.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
