package server

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// timeoutHeader is the header in which Prometheus sends its scrape timeout, in seconds.
const timeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"

// maxHops is the maximum number of proxies that a scrape may pass through: one that
// aggregates, one in the pod, and some more.
const maxHops = 4

// maxReadTime is the maximum time that a client may take to read the response, after
// SCRAPE_TIMEOUT.
const maxReadTime = 10 * time.Second

// assumedWriteTime is the time to merge and write one byte of the targets' bodies, and for the
// client to read it, until a response has been measured: 100 MB/s.
const assumedWriteTime = 10 * time.Nanosecond

// minTimeout is the smallest timeout of a client. Within less, targets fail that are not slow.
const minTimeout = 50 * time.Millisecond

// scrape scrapes the targets and writes the merged exposition. Every route that scrapes calls
// it. It writes nothing before all outcomes are known. It returns either nil or, before
// anything is written, a refusal.
func (s *Server) scrape(w http.ResponseWriter, r *http.Request, targets func() []*target.Target, h *history) *refusal {
	via := r.Header.Values(scrape.ViaHeader)
	if slices.Contains(via, s.opts.Instance) || len(via) >= maxHops {
		return &refusal{http.StatusLoopDetected, "loop", "this scrape has passed through this proxy before, or through too many others: a proxy may be among its own targets"}
	}
	start := time.Now()
	client := clientTimeout(r)
	if client < minTimeout {
		return &refusal{http.StatusBadRequest, "bad_timeout", timeoutHeader + " is too small: expected at least 0.05 seconds"}
	}
	from := clientAddr(r)
	recent := h.recentWriteTime(from)
	deadline := func(received scrape.Received) time.Time {
		reserve := max(recent, time.Duration(received.Bytes)*assumedWriteTime)
		return start.Add(budget(client, s.opts.ScrapeTimeout, reserve, received.Merging))
	}
	// A scrape that waits longer than half of its time would leave its targets too little
	// time, and report them as down.
	ctx, cancel := context.WithTimeout(r.Context(), time.Until(deadline(scrape.Received{}))/2)
	leave, refused := s.admit(ctx, from, targets())
	cancel()
	if refused != nil {
		if s.abandoned(r, start) {
			return nil
		}
		return refused
	}
	defer leave()
	s.writers.cutSlow()
	format := exposition.Negotiate(listHeader(r, "Accept"))
	answer := s.opts.Client.Gather(r.Context(), scrape.Request{
		Targets: targets, Format: format, Deadline: deadline, Via: append(slices.Clip(via), s.opts.Instance),
		Visit: func(ctx context.Context, t *target.Target) func() { return s.nesting.visit(ctx, from, t) },
	})
	defer answer.Release()
	if s.abandoned(r, start) {
		return nil // the outcomes are not valid, because the scrape was canceled
	}
	if time.Since(start) >= client { // nobody waits for the outcomes any more
		return &refusal{http.StatusServiceUnavailable, "broken", "the timeout of the client passed before the responses of the targets were merged"}
	}
	leave()
	s.report(h, answer, format)
	_ = http.NewResponseController(w).SetWriteDeadline(start.Add(min(client, s.opts.ScrapeTimeout+maxReadTime)))
	written, err := s.respond(w, r, answer, format, func(own, waited time.Duration) {
		h.recordWriteTime(min(own, client/2))
		if client != noTimeout { // otherwise the time that the client may take is unknown
			h.recordWaitTime(from, min(waited, client/2))
		}
	})
	s.metrics.served(start, written, err)
	s.opts.Logger.Debug("scrape served", "targets", len(answer.Results), "bytes", written, "deadline", deadline(scrape.Received{}).Sub(start), "duration", time.Since(start), "err", err)
	return nil
}

// respond writes the answer. It calls record with the time that merging and writing took, and
// with the time that it waited for the client to read. A slow client must not shorten the time
// that the targets have in the scrapes of others, so the two are learned separately.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, answer scrape.Answer, format exposition.Format, record func(own, waited time.Duration)) (int64, error) {
	start := time.Now()
	w.Header().Set("Content-Type", format.ContentType())
	out := s.writers.begin(w, answer.Held())
	written, err := s.encoders.writeEncoded(out, listHeader(r, "Accept-Encoding"), answer.WriteTo)
	waited := out.end()
	record(time.Since(start)-waited+answer.MergeTime, waited)
	if errors.Is(err, errSlowClient) && s.news.isNews(err.Error()) {
		s.opts.Logger.Warn("response cut: its client reads slowly, and others need the memory", "client", r.RemoteAddr, "bytes", written)
	}
	return written, err
}

// abandoned reports whether the client has gone away. If so, it counts and logs that.
func (s *Server) abandoned(r *http.Request, start time.Time) bool {
	if r.Context().Err() == nil {
		return false
	}
	s.metrics.scrapes.WithLabelValues("broken").Inc()
	s.opts.Logger.Debug("scrape abandoned by its client", "duration", time.Since(start))
	return true
}

// listHeader returns the value of a list header, which may be sent in several lines.
func listHeader(r *http.Request, header string) string {
	return strings.Join(r.Header.Values(header), ",")
}

// noTimeout is the timeout of a client that does not send one.
const noTimeout = time.Duration(math.MaxInt64)

// clientTimeout returns the timeout that the client sent, or noTimeout.
func clientTimeout(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get(timeoutHeader), 64)
	if err != nil || !(seconds > 0) || seconds >= noTimeout.Seconds() {
		return noTimeout
	}
	return time.Duration(seconds * float64(time.Second))
}

// minReserve is the least time that is reserved to merge and write the response.
const minReserve = 500 * time.Millisecond

// budget returns the time that the targets of one scrape may take: at most timeout, and short
// enough to merge and write the response before the client times out. reserve is the expected
// time to merge and write, as far as it is known from other scrapes and from the bytes received.
// Because both can mislead, the targets get at least half of the client's time, if timeout
// allows it, unless merging the families received takes longer than the other half. Even then
// they get a tenth.
func budget(client, timeout, reserve, merging time.Duration) time.Duration {
	expected := max(client-max(minReserve, reserve+reserve/2), client/2)
	mergeable := max(max(client-minReserve, client/2)-merging, client/10)
	return min(timeout, expected, mergeable)
}
