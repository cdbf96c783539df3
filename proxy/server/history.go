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

// maxSelections and maxOutcomes bound what a route keeps: its selections that have a history,
// and their targets in total.
const (
	maxSelections = 1000
	maxOutcomes   = 100_000
)

// histories holds the state that a route keeps between scrapes. The zero value is ready to use.
// Safe for concurrent use.
type histories struct {
	mu         sync.Mutex // guards the fields below
	selections map[string]*history
	refusals   map[string]time.Time // the last time of each: see isNewRefusal
}

// of returns the history of a selection, which it creates if necessary. If there is too much
// history, it evicts the least recently used selections, but never that of all targets, whose
// name is empty.
func (h *histories) of(selection string) *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.selections[selection]
	if known == nil {
		known = &history{conflicts: map[exposition.Format]map[conflict]bool{}}
		if h.selections == nil {
			h.selections = map[string]*history{}
		}
		h.selections[selection] = known
	}
	known.usedAt = time.Now()
	h.evict(selection)
	return known
}

// evict removes the least recently used histories, except that of a selection in use, until the
// bounds hold. The caller holds mu.
func (h *histories) evict(inUse string) {
	total := int64(0)
	for _, known := range h.selections {
		total += known.size.Load()
	}
	for len(h.selections) > maxSelections || total > maxOutcomes {
		oldest := ""
		for selection, known := range h.selections {
			if selection != "" && selection != inUse && (oldest == "" || known.usedAt.Before(h.selections[oldest].usedAt)) {
				oldest = selection
			}
		}
		if oldest == "" {
			return
		}
		total -= h.selections[oldest].size.Load()
		delete(h.selections, oldest)
	}
}

// history is the state that the scrapes of one selection keep for the next one. It serves to
// log only changes, and to derive the deadline of targets from the recent write time.
type history struct {
	usedAt    time.Time    // guarded by histories.mu
	writeTime atomic.Int64 // nanoseconds that it took to merge and write recent responses
	size      atomic.Int64 // number of outcomes

	mu        sync.Mutex                              // guards the fields below
	outcomes  map[string]outcome                      // of the last scrape, by target ID; nil before the first
	conflicts map[exposition.Format]map[conflict]bool // of the last scrape in each format; there are few formats
}

// outcome is the outcome of one target in the last scrape. It is a copy that does not keep
// the memory of a response alive.
type outcome struct {
	target *target.Target
	target.Outcome
}

// down returns the reason why the target is reported as down, or an empty string if it is not.
// The failure of a terminating target is expected, and not reported.
func (o outcome) down() target.Reason {
	if o.Reason == target.OK || o.target.Terminating {
		return ""
	}
	return o.Reason
}

// downIn returns down for the target with this ID, or an empty string if it has no outcome.
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

// replace stores the outcomes and conflicts of a scrape in a format. It returns the previous
// outcomes, and the previous conflicts in that format.
func (h *history) replace(outcomes map[string]outcome, format exposition.Format, conflicts map[conflict]bool) (map[string]outcome, map[conflict]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	outcomesBefore, conflictsBefore := h.outcomes, h.conflicts[format]
	h.outcomes, h.conflicts[format] = outcomes, conflicts
	h.size.Store(int64(len(outcomes)))
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

// recordWriteTime updates the recent time to merge and write. It follows an increase
// immediately and a decrease gradually.
func (h *history) recordWriteTime(d time.Duration) {
	before := time.Duration(h.writeTime.Load())
	h.writeTime.Store(int64(max(d, (before+d)/2)))
}
