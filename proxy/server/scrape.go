package server

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
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

// slowClient is how long a client may take to read the answer.
const slowClient = time.Minute

// assumedWriteTime is what one byte of the targets' bodies takes to be merged,
// written and read by the client, before a recent answer tells: 100 MB/s.
const assumedWriteTime = 10 * time.Nanosecond

// serveMetrics answers with the metrics of all targets.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if err := s.opts.Discovery.Ready(); err != nil {
		// An empty answer would end every series.
		http.Error(w, "no answer yet: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	s.answer(w, r, s.opts.Discovery.Targets())
}

// answer asks the targets and writes what they gave, as one exposition. Every
// route that scrapes ends here. Nothing is written before all outcomes are known.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, targets []*target.Target) {
	via := r.Header.Values(scrape.ViaHeader)
	if slices.Contains(via, s.opts.Instance) || len(via) >= maxHops {
		http.Error(w, "this scrape goes in a circle: the proxy is among its own targets", http.StatusLoopDetected)
		return
	}
	start := time.Now()
	recent := time.Duration(s.writeTime.Load())
	deadline := func(bytes int64) time.Time {
		return start.Add(budget(r.Header.Get(timeoutHeader), s.opts.ScrapeTimeout, max(recent, time.Duration(bytes)*assumedWriteTime)))
	}
	ctx := scrape.WithVia(r.Context(), append(slices.Clip(via), s.opts.Instance))
	select {
	case s.answering <- struct{}{}:
		defer func() { <-s.answering }()
	case <-r.Context().Done():
		return
	case <-time.After(time.Until(deadline(0))):
		http.Error(w, "too many scrapes at a time: SERVER_WORKERS bounds them", http.StatusServiceUnavailable)
		return
	}
	answer := s.opts.Client.Gather(ctx, targets, deadline)
	if r.Context().Err() != nil {
		return // the client is gone, and with it the reason why targets did not answer
	}
	s.report(answer)
	gathered := time.Now()
	_ = http.NewResponseController(w).SetWriteDeadline(gathered.Add(slowClient))
	w.Header().Set("Content-Type", exposition.ContentType)
	written, err := answer.WriteTo(w)
	if !errors.Is(err, os.ErrDeadlineExceeded) { // a client that does not read tells nothing
		s.noteWriteTime(time.Since(gathered) + answer.MergeTime)
	}
	s.metrics.answered(start, written, err)
}

// budget is how long the targets of one scrape may take: timeout at most, and
// little enough that the answer can be merged and written before the client gives
// up. header is what the client said of that; reserve is how long merging and
// writing may take. The targets get half of the client's time at least.
func budget(header string, timeout, reserve time.Duration) time.Duration {
	seconds, err := strconv.ParseFloat(header, 64)
	if err != nil || !(seconds > 0) || seconds > math.MaxInt64/float64(time.Second) {
		return timeout
	}
	client := time.Duration(seconds * float64(time.Second))
	reserve = max(500*time.Millisecond, reserve*3/2)
	return min(timeout, max(client-reserve, client/2))
}

// noteWriteTime keeps the recent time to merge and write: it follows a rise at
// once and a fall by and by.
func (s *Server) noteWriteTime(d time.Duration) {
	before := time.Duration(s.writeTime.Load())
	s.writeTime.Store(int64(max(d, (before+d)/2)))
}

// report counts the outcomes, and logs each that is another than at the scrape
// before.
func (s *Server) report(answer scrape.Answer) {
	s.metrics.gathered(answer)
	s.mu.Lock()
	defer s.mu.Unlock()
	down := make(map[string]target.Reason)
	for _, r := range answer.Results {
		reason := r.Outcome.Reason
		before, wasDown := s.down[r.Target.ID]
		if reason != target.OK {
			down[r.Target.ID] = reason
		}
		log := s.opts.Logger.With("namespace", r.Target.Namespace, "pod", r.Target.Pod, "url", r.Target.URL)
		switch {
		case reason != target.OK && reason != before:
			log.Warn("target is down", "reason", reason, "err", r.Outcome.Err, "duration", r.Outcome.Duration, "bytes", r.Outcome.Bytes)
		case reason == target.OK && wasDown:
			log.Info("target is up again", "was", before)
		}
	}
	s.down = down
	s.logDemoted(answer.Demoted())
}

// logDemoted tells of families that targets disagree on, when they are others than
// before. The lock is held.
func (s *Server) logDemoted(families []string) {
	if !slices.Equal(families, s.demoted) && len(families) > 0 {
		s.opts.Logger.Warn("targets disagree on the type of metric families, which are written as untyped", "families", fmt.Sprint(families))
	}
	s.demoted = families
}
