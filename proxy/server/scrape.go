package server

import (
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

// scrape scrapes the targets and writes the merged exposition. Every route that scrapes calls
// it. It writes nothing before all outcomes are known. It returns either nil or, before the
// targets are scraped, a refusal.
func (s *Server) scrape(w http.ResponseWriter, r *http.Request, targets func() []*target.Target, h *history) *refusal {
	via := r.Header.Values(scrape.ViaHeader)
	if slices.Contains(via, s.opts.Instance) || len(via) >= maxHops {
		return &refusal{http.StatusLoopDetected, "loop", "this scrape has passed through this proxy before, or through too many others: a proxy may be among its own targets"}
	}
	start := time.Now()
	client := clientTimeout(r)
	recent := time.Duration(h.writeTime.Load())
	deadline := func(bytes int64) time.Time {
		return start.Add(budget(client, s.opts.ScrapeTimeout, max(recent, time.Duration(bytes)*assumedWriteTime)))
	}
	// A scrape that waits longer than half of its time would leave its targets too little
	// time, and report them as down.
	if !s.acquireSlot(r, time.Until(deadline(0))/2) {
		if s.abandoned(r, start) {
			return nil
		}
		return &refusal{http.StatusServiceUnavailable, "refused", "too many concurrent scrapes: SERVER_WORKERS limits them"}
	}
	defer func() { <-s.slots }()
	format := exposition.Negotiate(list(r, "Accept"))
	answer := s.opts.Client.Gather(r.Context(), scrape.Request{
		Targets: targets, Format: format, Deadline: deadline, Via: append(slices.Clip(via), s.opts.Instance),
	})
	defer answer.Release()
	if s.abandoned(r, start) {
		return nil // the outcomes are not valid, because the scrape was canceled
	}
	s.report(h, answer, format)
	gathered := time.Now()
	_ = http.NewResponseController(w).SetWriteDeadline(start.Add(min(client, s.opts.ScrapeTimeout+maxReadTime)))
	w.Header().Set("Content-Type", format.ContentType())
	written, err := s.encoders.writeEncoded(w, list(r, "Accept-Encoding"), answer.WriteTo)
	if client != noTimeout { // otherwise the time that the client may take is unknown
		h.recordWriteTime(min(time.Since(gathered)+answer.MergeTime, client/2))
	}
	s.metrics.served(start, written, err)
	s.opts.Logger.Debug("scrape served", "targets", len(answer.Results), "bytes", written, "deadline", deadline(0).Sub(start), "duration", time.Since(start), "err", err)
	return nil
}

// acquireSlot waits for a slot for at most timeout, and reports whether it acquired one.
func (s *Server) acquireSlot(r *http.Request, timeout time.Duration) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	case <-r.Context().Done():
	case <-time.After(timeout):
	}
	return false
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

// list returns the value of a list header, which may be sent in several lines.
func list(r *http.Request, header string) string {
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

// budget returns the time that the targets of one scrape may take: at most timeout, and short
// enough to merge and write the response before the client times out. reserve is the expected
// time to merge and write. The targets get at least half of the client's time, if timeout
// allows it.
func budget(client, timeout, reserve time.Duration) time.Duration {
	reserve = max(500*time.Millisecond, reserve+reserve/2)
	return min(timeout, max(client-reserve, client/2))
}
