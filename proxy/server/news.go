package server

import (
	"maps"
	"sync"
	"time"
)

// refusalLogInterval is the time without an event after which the same one is logged again. It
// is longer than a usual scrape interval.
const refusalLogInterval = 10 * time.Minute

// maxNews is the maximum number of different events that are news within refusalLogInterval: an
// event may contain what a client sent.
const maxNews = 16

// news remembers what has been logged, so that an event that repeats is logged once. The zero
// value remembers nothing. Safe for concurrent use.
type news struct {
	mu   sync.Mutex
	last map[string]time.Time // when it occurred last, by event
}

// isNews reports whether the event has not occurred within refusalLogInterval. It returns false
// if too many other events have.
func (n *news) isNews(event string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	isOld := func(at time.Time) bool { return now.Sub(at) > refusalLogInterval }
	at, isKnown := n.last[event]
	if !isKnown && len(n.last) >= maxNews {
		maps.DeleteFunc(n.last, func(_ string, at time.Time) bool { return isOld(at) })
		if len(n.last) >= maxNews {
			return false
		}
	}
	if n.last == nil {
		n.last = map[string]time.Time{}
	}
	n.last[event] = now
	return !isKnown || isOld(at)
}
