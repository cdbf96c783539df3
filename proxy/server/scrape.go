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

// timeoutHeader is where Prometheus says how long it waits, in seconds.
const timeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"

// maxHops bounds how many proxies a scrape may pass: one that aggregates, one in
// the pod, and some more.
const maxHops = 4

// slowClient is how long a client may take to read the answer, after the targets'
// deadline, at most.
const slowClient = 10 * time.Second

// assumedWriteTime is what one byte of the targets' bodies takes to be merged,
// written and read by the client, before a recent answer tells: 100 MB/s.
const assumedWriteTime = 10 * time.Nanosecond

// scrape scrapes the targets and writes what they exposed, as one exposition. Every route
// that scrapes ends here. Nothing is written before all outcomes are known. A refusalError
// is returned before the targets are scraped.
func (s *Server) scrape(w http.ResponseWriter, r *http.Request, targets func() []*target.Target, h *history) error {
	via := r.Header.Values(scrape.ViaHeader)
	if slices.Contains(via, s.opts.Instance) || len(via) >= maxHops {
		return refusalError{http.StatusLoopDetected, "loop", "this scrape has passed this proxy before, or too many others: a proxy may be among its own targets"}
	}
	start := time.Now()
	client := clientTimeout(r)
	recent := time.Duration(h.writeTime.Load())
	deadline := func(bytes int64) time.Time {
		return start.Add(budget(client, s.opts.ScrapeTimeout, max(recent, time.Duration(bytes)*assumedWriteTime)))
	}
	// A scrape that waits longer than half of its time would leave its targets too
	// little, and call them down.
	if !s.takePlace(r, time.Until(deadline(0))/2) {
		if s.abandoned(r, start) {
			return nil
		}
		return refusalError{http.StatusServiceUnavailable, "refused", "too many scrapes at a time: SERVER_WORKERS bounds them"}
	}
	defer func() { <-s.answering }()
	format := exposition.Negotiate(list(r, "Accept"))
	answer := s.opts.Client.Gather(r.Context(), scrape.Request{
		Targets: targets, Format: format, Deadline: deadline, Via: append(slices.Clip(via), s.opts.Instance),
	})
	defer answer.Release()
	if s.abandoned(r, start) {
		return nil // and that is why targets did not respond
	}
	s.report(h, answer, format)
	gathered := time.Now()
	_ = http.NewResponseController(w).SetWriteDeadline(start.Add(min(client, s.opts.ScrapeTimeout+slowClient)))
	w.Header().Set("Content-Type", format.ContentType())
	written, err := s.encoders.writeEncoded(w, list(r, "Accept-Encoding"), answer.WriteTo)
	if client != noTimeout { // else nobody says how long reading may take
		h.noteWriteTime(min(time.Since(gathered)+answer.MergeTime, client/2))
	}
	s.metrics.answered(start, written, err)
	s.opts.Logger.Debug("scrape answered", "targets", len(answer.Results), "bytes", written, "deadline", deadline(0).Sub(start), "duration", time.Since(start), "err", err)
	return nil
}

// takePlace waits for a place among the scrapes that are being answered, and says
// whether it got one.
func (s *Server) takePlace(r *http.Request, patience time.Duration) bool {
	select {
	case s.answering <- struct{}{}:
		return true
	case <-r.Context().Done():
	case <-time.After(patience):
	}
	return false
}

// abandoned says whether the client is gone, and if so counts that.
func (s *Server) abandoned(r *http.Request, start time.Time) bool {
	if r.Context().Err() == nil {
		return false
	}
	s.metrics.answers.WithLabelValues("broken").Inc()
	s.opts.Logger.Debug("scrape abandoned by its client", "duration", time.Since(start))
	return true
}

// list is the value of a header that is a list, and so may come in several lines.
func list(r *http.Request, header string) string {
	return strings.Join(r.Header.Values(header), ",")
}

// noTimeout stands for a client that does not say how long it waits.
const noTimeout = time.Duration(math.MaxInt64)

// clientTimeout is how long the client says it waits.
func clientTimeout(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get(timeoutHeader), 64)
	if err != nil || !(seconds > 0) || seconds >= noTimeout.Seconds() {
		return noTimeout
	}
	return time.Duration(seconds * float64(time.Second))
}

// budget is how long the targets of one scrape may take: timeout at most, and
// little enough that the answer can be merged and written before the client gives
// up. reserve is how long merging and writing may take. The targets get half of the
// client's time at least.
func budget(client, timeout, reserve time.Duration) time.Duration {
	reserve = max(500*time.Millisecond, reserve+reserve/2)
	return min(timeout, max(client-reserve, client/2))
}
