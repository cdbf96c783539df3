package scrape

// ledger records the memory that the targets of one scrape have reserved. If memory is short,
// it first drops a target that takes much more than the others. Then it drops targets from
// the last one backwards, so that the same targets are dropped in each scrape. Its methods
// lock memory.mu, except for isDropped, add, dropOne, oversized and release, whose caller
// holds it.
type ledger struct {
	memory   *memory
	limit    int64    // maximum of memory.bodies, in bytes; 0 = none
	targets  []int64  // bytes reserved, by target
	holders  int      // number of targets with a reservation
	sum      int64    // bytes reserved for all targets
	large    []int    // targets that have ever reserved more than a quarter of the limit
	results  []Result // by target
	done     []bool   // whether the result is stored, by target
	dropped  []bool   // whether the target was dropped as oversized, by target
	dropFrom int      // targets from this index on are dropped
}

// open starts the ledger of a scrape. store fills results.
func (m *memory) open(results []Result) *ledger {
	n := len(results)
	l := &ledger{memory: m, results: results, targets: make([]int64, n), done: make([]bool, n), dropped: make([]bool, n), dropFrom: n}
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
	if l.isDropped(target) {
		return errMemory
	}
	if l.memory.bodies+bytes+l.memory.keeper.LastBodies() > l.limit {
		l.memory.keeper.DropFree()
	}
	l.add(target, bytes)
	for l.memory.bodies > l.limit && l.holders > 0 {
		l.dropOne()
	}
	if l.isDropped(target) {
		return errMemory
	}
	return nil
}

func (l *ledger) isDropped(target int) bool { return target >= l.dropFrom || l.dropped[target] }

func (l *ledger) add(target int, bytes int64) {
	before := l.targets[target]
	if before == 0 && bytes > 0 {
		l.holders++
	}
	if quarter := l.limit / 4; before <= quarter && before+bytes > quarter {
		l.large = append(l.large, target)
	}
	l.targets[target] += bytes
	l.sum += bytes
	l.memory.bodies += bytes
}

// dropOne drops an oversized target or, if there is none, the last target with a reservation
// and all targets after it.
func (l *ledger) dropOne() {
	victim := l.oversized()
	if victim >= 0 {
		l.dropped[victim] = true
	} else {
		for l.dropFrom--; l.targets[l.dropFrom] == 0; l.dropFrom-- {
		}
		victim = l.dropFrom
	}
	l.release(victim)
	if l.done[victim] {
		l.results[victim].drop()
	}
	l.memory.keeper.DropFree()
}

// oversized returns the last target that has reserved more than a quarter of the limit and at
// least four times the average of the others, or -1 if there is none.
func (l *ledger) oversized() int {
	last := -1
	for _, target := range l.large {
		bytes, others := l.targets[target], int64(l.holders-1)
		if bytes > l.limit/4 && bytes*others >= 4*(l.sum-bytes) {
			last = max(last, target)
		}
	}
	return last
}

func (l *ledger) release(target int) {
	bytes := l.targets[target]
	if bytes > 0 {
		l.holders--
	}
	l.sum -= bytes
	l.memory.bodies -= bytes
	l.targets[target] = 0
}

// store stores the result of a target. If the target has been dropped in the meantime, it
// drops the body.
func (l *ledger) store(target int, r Result) {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if l.isDropped(target) && r.part.Body != nil {
		r.drop()
	}
	if r.part.Body == nil {
		l.release(target)
	}
	l.results[target], l.done[target] = r, true
}

// close releases all reservations. The bodies must no longer be in use.
func (l *ledger) close() {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for i := range l.targets {
		l.release(i)
	}
}
