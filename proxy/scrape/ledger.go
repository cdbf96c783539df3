package scrape

import (
	"cmp"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// ledger records the memory that the targets of one scrape have reserved. If memory is short,
// the target that takes most gives way.
//
// Each target has a key: its size class (the sizes of a class differ by less than a factor of
// two) and its place in a fair order. Its size is what it has reserved or, if that is more,
// what it took in its last scrape. The target with the highest key is dropped and, if its size
// was known, with it all that have a higher key or reach one. So once all sizes are known, the
// targets that are served are always the first ones by key that fit together, regardless of
// which ones respond first: as long as more is reserved than fits, some target after those has
// reserved memory, and the last one is dropped.
//
// Its methods lock memory.mu, except for those whose caller holds it: add, drop, key, last and
// release.
type ledger struct {
	memory    *memory
	limit     int64    // maximum of memory.bodies, in bytes; 0 = none
	results   []Result // by target
	targets   []*target.Target
	reserved  []int64 // bytes, by target
	sum       int64   // bytes reserved for all targets
	done      []bool  // whether the result is stored, by target
	dropped   []bool  // by target
	places    []int   // in the fair order, by target; nil until a target is dropped
	known     []int64 // bytes in their last scrapes, by target; nil until then
	watermark int     // key from which on targets are dropped
	isTaken   bool    // take was called
}

// open starts the ledger of a scrape. store fills results.
func (m *memory) open(targets []*target.Target) *ledger {
	n := len(targets)
	l := &ledger{memory: m, targets: targets, results: make([]Result, n), reserved: make([]int64, n), done: make([]bool, n), dropped: make([]bool, n), watermark: math.MaxInt}
	if m.limit > 0 {
		// A fifth is reserved for garbage.
		l.limit = max(m.floor, m.limit-m.limit/5-m.fixed-m.measureOthers())
	}
	return l
}

// reserve implements exposition.Options.Reserve for a target. It returns errMemory if the
// target is dropped.
func (l *ledger) reserve(target int, bytes int64) error {
	if l.limit == 0 {
		return nil
	}
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	switch {
	case l.isTaken:
		return errUnread
	case l.dropped[target]:
		return errMemory
	}
	if l.memory.bodies+bytes+l.memory.keeper.LastBodies() > l.limit {
		l.memory.keeper.DropFree()
	}
	l.add(target, bytes)
	if l.places != nil && l.key(target) >= l.watermark {
		l.drop(target)
	}
	for l.memory.bodies > l.limit {
		last := l.last()
		if last < 0 {
			break
		}
		if l.known[last] >= l.reserved[last] { // else its key may still grow, and so may those of others
			l.watermark = l.key(last)
		}
		l.drop(last)
	}
	if l.dropped[target] {
		return errMemory
	}
	return nil
}

func (l *ledger) add(target int, bytes int64) {
	l.reserved[target] += bytes
	l.sum += bytes
	l.memory.bodies += bytes
}

func (l *ledger) release(target int) { l.add(target, -l.reserved[target]) }

// drop drops a target. Its size remains known.
func (l *ledger) drop(target int) {
	l.dropped[target] = true
	l.known[target] = max(l.known[target], l.reserved[target])
	l.release(target)
	if l.done[target] {
		l.results[target].drop()
	}
	l.memory.keeper.DropFree()
}

// last returns the target with the highest key of those that have reserved memory, or -1 if
// there is none.
func (l *ledger) last() int {
	if l.places == nil {
		l.places = l.memory.fairOrder(l.targets)
		l.known = make([]int64, len(l.targets))
		for i, t := range l.targets {
			l.known[i] = l.memory.sizes[t.ID]
		}
	}
	last, highest := -1, -1
	for i, bytes := range l.reserved {
		if bytes <= 0 {
			continue
		}
		if key := l.key(i); key > highest {
			last, highest = i, key
		}
	}
	return last
}

func (l *ledger) key(target int) int {
	return bits.Len64(uint64(max(l.reserved[target], l.known[target])))*len(l.targets) + l.places[target]
}

// fairOrder returns the place of each target. Each namespace has one target before any has a
// second one, so the last ones belong to the namespaces with the most targets. Hashes decide
// among namespaces and within them, because names must not.
func (m *memory) fairOrder(targets []*target.Target) []int {
	type place struct{ index, rank int }
	hash := func(s string) uint64 { return maphash.String(m.seed, s) }
	order := make([]place, len(targets))
	for i := range order {
		order[i].index = i
	}
	slices.SortFunc(order, func(a, b place) int {
		return cmp.Compare(hash(targets[a.index].ID), hash(targets[b.index].ID))
	})
	ranks := map[string]int{}
	for i := range order {
		namespace := targets[order[i].index].Namespace
		order[i].rank = ranks[namespace]
		ranks[namespace]++
	}
	slices.SortStableFunc(order, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(hash(targets[a.index].Namespace), hash(targets[b.index].Namespace)))
	})
	places := make([]int, len(targets))
	for i, p := range order {
		places[p.index] = i
	}
	return places
}

// take returns the results. giveUp returns those of targets whose goroutines still work, for
// example on a body that costs much time. These goroutines have been told to stop. Until they
// do, their memory stays reserved, and their targets are not scraped again. What they store is
// dropped.
func (l *ledger) take(giveUp func(*target.Target) Result) []Result {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	l.isTaken = true
	results := slices.Clone(l.results)
	for i, t := range l.targets {
		if !l.done[i] {
			results[i] = giveUp(t)
			l.memory.lingering[t.ID]++
		}
	}
	return results
}

// store stores the result of a target. If the target has been dropped in the meantime, or its
// result is not wanted any more, it drops the body.
func (l *ledger) store(target int, r Result) {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if l.isTaken {
		if r.part.Body != nil {
			r.part.Body.Release()
		}
		l.release(target)
		l.memory.stopped(l.targets[target])
		return
	}
	if l.dropped[target] && r.part.Body != nil {
		r.drop()
	}
	if r.part.Body == nil {
		l.release(target)
	}
	l.results[target], l.done[target] = r, true
}

// close releases all reservations, except those of goroutines that still work, and remembers
// the sizes. The bodies must no longer be in use.
func (l *ledger) close() {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for i, t := range l.targets {
		switch {
		case l.dropped[i]:
			l.memory.remember(t.ID, l.known[i])
		case l.reserved[i] > 0:
			l.memory.remember(t.ID, l.reserved[i])
		}
		if l.done[i] {
			l.release(i)
		}
	}
	l.memory.forget()
}

// lingers reports whether a goroutine of an earlier scrape still works on a response of the
// target.
func (m *memory) lingers(t *target.Target) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lingering[t.ID] > 0
}

// stopped records that such a goroutine has stopped. The memory must be locked.
func (m *memory) stopped(t *target.Target) {
	if m.lingering[t.ID]--; m.lingering[t.ID] == 0 {
		delete(m.lingering, t.ID)
	}
}

// Lingering returns how many targets have a response that is still being read although the
// deadline of the scrape has passed.
func (c *Client) Lingering() int {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	return len(c.memory.lingering)
}

// forgetting is after what time the sizes of targets are forgotten. The targets may be gone.
const forgetting = 10 * time.Minute

// remember remembers the size of a target. The memory must be locked.
func (m *memory) remember(id string, bytes int64) {
	m.sizes[id] = bytes
}

// forget forgets all sizes once per forgetting, so that they are those of current targets. The
// memory must be locked.
func (m *memory) forget() {
	if now := time.Now(); now.Sub(m.forgot) > forgetting {
		m.forgot = now
		clear(m.sizes)
	}
}
