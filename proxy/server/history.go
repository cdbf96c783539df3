package server

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// maxSelections bounds the selections of a route that have a history.
const maxSelections = 32

// histories are what a route learns from its scrapes. Safe for concurrent use.
type histories struct {
	mu         sync.Mutex // guards what follows
	selections map[string]*history
	refusals   map[string]lastRefusal // by outcome
}

func newHistories() *histories {
	return &histories{selections: map[string]*history{}, refusals: map[string]lastRefusal{}}
}

// of returns the history of a selection. One that has been unused for longest is
// forgotten for a new one where there are too many.
func (h *histories) of(selection string) *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.selections[selection]
	if known == nil {
		if len(h.selections) >= maxSelections {
			h.forgetOldest()
		}
		known = &history{conflicts: map[exposition.Format]map[conflict]bool{}}
		h.selections[selection] = known
	}
	known.usedAt = time.Now()
	return known
}

// forgetOldest expects mu to be held.
func (h *histories) forgetOldest() {
	oldest, usedAt := "", time.Time{}
	for selection, known := range h.selections {
		if usedAt.IsZero() || known.usedAt.Before(usedAt) {
			oldest, usedAt = selection, known.usedAt
		}
	}
	delete(h.selections, oldest)
}

// history is what the scrapes of one selection leave for the next one: only changes are
// logged, and how long writing took sets how long targets have.
type history struct {
	usedAt    time.Time    // guarded by histories.mu
	writeTime atomic.Int64 // nanoseconds that recent responses took to be merged and written

	mu        sync.Mutex                              // guards what follows
	outcomes  map[string]outcome                      // of the last scrape, by target ID; nil before the first
	conflicts map[exposition.Format]map[conflict]bool // of the last scrape in each format, of which there are few
}

// outcome is what came of one target at the last scrape. It is a copy that keeps no
// memory of a response alive.
type outcome struct {
	target *target.Target
	target.Outcome
}

// down is why the target is reported as down, or empty if it is not. That a terminating
// target fails is expected, and not reported.
func (o outcome) down() target.Reason {
	if o.Reason == target.OK || o.target.Terminating {
		return ""
	}
	return o.Reason
}

// downIn is down for a target that may not have been there.
func downIn(outcomes map[string]outcome, id string) target.Reason {
	if o, ok := outcomes[id]; ok {
		return o.down()
	}
	return ""
}

func outcomesOf(results []scrape.Result) map[string]outcome {
	outcomes := make(map[string]outcome, len(results))
	for _, r := range results {
		o := outcome{r.Target, r.Outcome}
		if o.Err != nil {
			o.Err = errors.New(o.Err.Error())
		}
		outcomes[r.Target.ID] = o
	}
	return outcomes
}

// replace stores what a scrape in a format has found, and returns what the one before had.
func (h *history) replace(outcomes map[string]outcome, format exposition.Format, conflicts map[conflict]bool) (map[string]outcome, map[conflict]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	outcomesBefore, conflictsBefore := h.outcomes, h.conflicts[format]
	h.outcomes, h.conflicts[format] = outcomes, conflicts
	return outcomesBefore, conflictsBefore
}

// counts returns how many targets the last scrape found up and down, without terminating
// targets that failed; ok is false before the first scrape.
func (h *history) counts() (up, down int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.outcomes {
		switch {
		case o.Reason == target.OK:
			up++
		case o.down() != "":
			down++
		}
	}
	return up, down, h.outcomes != nil
}

// noteWriteTime keeps the recent time to merge and write: it follows a rise at once and a
// fall gradually.
func (h *history) noteWriteTime(d time.Duration) {
	before := time.Duration(h.writeTime.Load())
	h.writeTime.Store(int64(max(d, (before+d)/2)))
}
