package server

import (
	"sync"
	"time"
)

// refusalLogInterval is the time without an event after which the same one is logged again. It
// is longer than a usual scrape interval.
const refusalLogInterval = 10 * time.Minute

// maxNews is the maximum number of events that news remembers.
const maxNews = 32

// news remembers what has been logged, so that an event that repeats is logged once. The zero
// value remembers nothing. Safe for concurrent use.
type news struct {
	mu   sync.Mutex
	last map[string]time.Time // when it occurred last, by event
}

// isNews reports whether the event has not occurred within refusalLogInterval.
func (n *news) isNews(event string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	before, known := n.last[event]
	if !known && len(n.last) >= maxNews {
		n.forgetOldest()
	}
	if n.last == nil {
		n.last = map[string]time.Time{}
	}
	n.last[event] = now
	return !known || now.Sub(before) > refusalLogInterval
}

// forgetOldest forgets the event that has not occurred for longest. The caller holds mu.
func (n *news) forgetOldest() {
	oldest, at := "", time.Time{}
	for event, last := range n.last {
		if at.IsZero() || last.Before(at) {
			oldest, at = event, last
		}
	}
	delete(n.last, oldest)
}
