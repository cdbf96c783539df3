package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// fetchSafely is fetch, but a panic fails only the target, with reason parse: bodies are not
// trusted, and other targets must not lose their samples to one of them.
func (c *Client) fetchSafely(ctx context.Context, t *target.Target, header http.Header, opts exposition.Options) (body *exposition.Body, n int64, err error) {
	defer func() {
		if v := recover(); v != nil {
			body, err = nil, translateError{fmt.Errorf("internal error while reading the body: %v", v)}
		}
	}()
	return c.fetch(ctx, t, header, opts)
}

// fetch waits for an in-flight slot and scrapes one target by its profile. It returns the
// number of bytes read of the decoded body, even with an error. After the deadline of the
// scrape or of the target, the error is a notScrapedError or a deadlineError.
func (c *Client) fetch(ctx context.Context, t *target.Target, header http.Header, opts exposition.Options) (*exposition.Body, int64, error) {
	if err := acquireSlot(ctx, c.inFlight); err != nil {
		return nil, 0, notScrapedError(cap(c.inFlight))
	}
	defer releaseSlot(c.inFlight)
	profile := c.profileOf(t)
	scrapeCtx := ctx
	if t.Profile != nil { // its transport may modify the header, although it must not
		header = header.Clone()
		maps.Copy(header, profile.Header)
	}
	if profile.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, profile.Timeout)
		defer cancel()
		setTimeout(ctx, header)
	}
	opts.Done, opts.MaxSamples, opts.MaxText = ctx.Done(), profile.SampleLimit, int(profile.BodySizeLimit)
	body, n, err := c.get(ctx, t.URL, profile, header, opts)
	switch {
	case err == nil || ctx.Err() == nil:
		return body, n, err
	case scrapeCtx.Err() == nil:
		err = fmt.Errorf("the timeout of the target is %s: %w", profile.Timeout, err)
	}
	return body, n, deadlineError{err}
}

// get sends one request and reads the response.
func (c *Client) get(ctx context.Context, url string, profile target.Profile, header http.Header, opts exposition.Options) (*exposition.Body, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header = header
	resp, err := profile.Transport.RoundTrip(req)
	if err != nil {
		return nil, 0, explainDeadline(ctx, err, "the response started")
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, statusError(resp.Status)
	}
	body, n, err := c.read(ctx, resp, profile, opts)
	return body, n, explainDeadline(ctx, err, "the response was complete")
}

// header returns the header of the requests to all targets of a scrape. They share it, so it
// must not be modified.
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

// setTimeout sets the header that tells the target its timeout, as Prometheus does.
func setTimeout(ctx context.Context, h http.Header) {
	if deadline, ok := ctx.Deadline(); ok {
		h.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(time.Until(deadline).Seconds(), 'f', 3, 64))
	}
}

// read reads, decodes, translates, validates and indexes the body of a response. It returns
// the number of bytes read of the decoded body, even with an error.
func (c *Client) read(ctx context.Context, resp *http.Response, profile target.Profile, opts exposition.Options) (*exposition.Body, int64, error) {
	limit := profile.BodySizeLimit
	if resp.ContentLength > limit {
		return nil, 0, tooLargeError(limit)
	}
	slot := &slot{slots: c.reading}
	if err := slot.acquire(ctx); err != nil {
		return nil, 0, err
	}
	defer slot.release()
	resp.Body = newReleasingBody(resp.Body, slot.release)
	decoded, err := decode(resp, limit)
	if err != nil {
		return nil, 0, err
	}
	yielding := &yieldingReader{Reader: decoded, ctx: ctx, slot: slot, memory: c.memory, left: yieldEvery}
	defer yielding.end()
	limited := newLimitedReader(yielding, limit)
	opts.ContentType = resp.Header.Get("Content-Type")
	opts.Work = func(bytes, scratch int64) (func(), error) {
		slot.release() // it has been read
		return c.works.start(ctx, bytes, scratch)
	}
	exposed := io.Reader(limited)
	if profile.Translate != nil {
		var closeResult func()
		if exposed, closeResult, err = translate(ctx, profile, opts.ContentType, limited); err != nil {
			return nil, limited.count(), err
		}
		defer closeResult()
		opts.ContentType = "text/plain; version=0.0.4"
	}
	body, err := c.reader.Read(exposed, opts)
	if err == nil {
		if err = opts.Reserve(body.MergeMemory()); err != nil {
			body.Release()
			body = nil
		}
	}
	return body, limited.count(), err
}

// decode decodes the Content-Encoding, which a target may use although the request does not
// accept one. limit bounds the encoded body; read bounds the decoded one.
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

// translate translates a body to an exposition of at most BodySizeLimit bytes.
// closeResult must be called when it has been read.
func translate(ctx context.Context, profile target.Profile, contentType string, body io.Reader) (result io.Reader, closeResult func(), err error) {
	closeResult = func() {}
	translated, err := derive(body, func(body io.Reader) (io.Reader, error) {
		r, err := profile.Translate(ctx, contentType, body)
		if c, ok := r.(io.Closer); ok {
			closeResult = func() { _ = c.Close() }
		}
		return r, err
	}, func(err error) error { return translateError{fmt.Errorf("cannot translate the body: %w", err)} })
	if err != nil {
		return nil, closeResult, err
	}
	return newLimitedReader(translated, profile.BodySizeLimit), closeResult, nil
}

// limitedReader returns a tooLargeError if the body is longer than limit bytes.
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

// count returns the number of bytes read.
func (l *limitedReader) count() int64 { return l.limit - l.left }

// derivedReader reads the output of a decoder or translator. If the source could not be read,
// its error is that of the source, which a decoder may hide; otherwise it is the error of
// the decoder, wrapped by fault.
type derivedReader struct {
	derived io.Reader
	source  *sourceReader
	fault   func(error) error
}

// derive creates a derivedReader.
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

// sourceReader records the error of the source, except io.EOF.
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
