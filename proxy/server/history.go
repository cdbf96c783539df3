package server

import (
	"errors"
	"net/netip"
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
	mu         sync.Mutex // guards selections
	selections map[string]*history
	refusals   news
}

// of returns the history of a selection, which it creates if necessary. If there is too much
// history, it evicts the least recently used selections, but never that of all targets, whose
// name is empty.
func (h *histories) of(selection string) *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.selections[selection]
	if known == nil {
		known = &history{waitTimes: map[netip.Addr]waitTime{}, conflicts: map[exposition.Format][]uint64{}}
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
	writeTime atomic.Int64 // nanoseconds that it took to merge and write recent responses, without waiting for clients
	size      atomic.Int64 // number of outcomes

	mu        sync.Mutex                     // guards the fields below
	waitTimes map[netip.Addr]waitTime        // for clients to read recent responses, by client
	outcomes  map[string]outcome             // of the last scrape, by target ID; nil before the first
	conflicts map[exposition.Format][]uint64 // of the last scrape in each format, see conflictHashes; there are few formats
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
func (h *history) replace(outcomes map[string]outcome, format exposition.Format, conflicts []uint64) (map[string]outcome, []uint64) {
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

// waitTime is how long the proxy waited for a client to read recent responses.
type waitTime struct {
	time.Duration
	at time.Time // of the last response
}

// maxClients is the maximum number of clients whose waitTime is known.
const maxClients = 32

// recentWriteTime returns the expected time to merge and write a response, and for this client
// to read it.
func (h *history) recentWriteTime(client netip.Addr) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(h.writeTime.Load()) + h.waitTimes[client].Duration
}

// recordWriteTime updates the recent time to merge and write.
func (h *history) recordWriteTime(d time.Duration) {
	h.writeTime.Store(int64(recent(time.Duration(h.writeTime.Load()), d)))
}

// recordWaitTime updates the recent time to wait for a client.
func (h *history) recordWaitTime(client netip.Addr, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, known := h.waitTimes[client]
	if !known && len(h.waitTimes) >= maxClients {
		oldest := client
		for other, w := range h.waitTimes {
			if oldest == client || w.at.Before(h.waitTimes[oldest].at) {
				oldest = other
			}
		}
		delete(h.waitTimes, oldest)
	}
	h.waitTimes[client] = waitTime{recent(before.Duration, d), time.Now()}
}

// recent follows an increase immediately and a decrease gradually.
func recent(before, d time.Duration) time.Duration { return max(d, (before+d)/2) }
