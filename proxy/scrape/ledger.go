package scrape

// ledger says what the targets of one scrape have reserved. Where memory is short a hog is
// shed first, that others need not be, and then targets from the last one on, so that the
// same ones are from scrape to scrape.
type ledger struct {
	memory  *memory
	limit   int64   // of memory.bodies
	targets []int64 // bytes reserved for each
	holders int     // how many have reserved any
	sum     int64   // bytes reserved for all
	large   []int   // that have reserved more than a quarter of the limit, at some time
	results []Result
	done    []bool // whose result is there
	alone   []bool // shed by itself
	shed    int    // targets from here on are shed
}

// open begins a scrape, whose results are to be stored in results.
func (m *memory) open(results []Result) *ledger {
	n := len(results)
	l := &ledger{memory: m, results: results, targets: make([]int64, n), done: make([]bool, n), alone: make([]bool, n), shed: n}
	if m.limit > 0 {
		// A fifth is for garbage.
		l.limit = max(m.least, m.limit-m.limit/5-m.fixed-m.measureOthers())
	}
	return l
}

// reserve is exposition.Options.Reserve for a target.
func (l *ledger) reserve(target int, bytes int64) error {
	if l.limit == 0 {
		return nil
	}
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if l.isShed(target) {
		return errMemory
	}
	if l.memory.bodies+bytes+l.memory.keeper.LastBodies() > l.limit {
		l.memory.keeper.DropFree()
	}
	l.take(target, bytes)
	for l.memory.bodies > l.limit && l.holders > 0 {
		l.shedOne()
	}
	if l.isShed(target) {
		return errMemory
	}
	return nil
}

func (l *ledger) isShed(target int) bool { return target >= l.shed || l.alone[target] }

func (l *ledger) take(target int, bytes int64) {
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

// shedOne sheds a hog, or else the last target that has reserved anything, and all behind it.
func (l *ledger) shedOne() {
	victim := l.hog()
	if victim >= 0 {
		l.alone[victim] = true
	} else {
		for l.shed--; l.targets[l.shed] == 0; l.shed-- {
		}
		victim = l.shed
	}
	l.giveBack(victim)
	if l.done[victim] {
		l.results[victim].shed()
	}
	l.memory.keeper.DropFree()
}

// hog is the last target that takes more than a quarter of what there is, and more than four
// times what the others take on the average; -1 if there is none.
func (l *ledger) hog() int {
	hog := -1
	for _, target := range l.large {
		bytes, others := l.targets[target], int64(l.holders-1)
		if bytes > l.limit/4 && bytes*others >= 4*(l.sum-bytes) {
			hog = max(hog, target)
		}
	}
	return hog
}

func (l *ledger) giveBack(target int) {
	bytes := l.targets[target]
	if bytes > 0 {
		l.holders--
	}
	l.sum -= bytes
	l.memory.bodies -= bytes
	l.targets[target] = 0
}

// store keeps the result of a target, unless that has been shed meanwhile.
func (l *ledger) store(target int, r Result) {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if l.isShed(target) && r.part.Body != nil {
		r.shed()
	}
	if r.part.Body == nil {
		l.giveBack(target)
	}
	l.results[target], l.done[target] = r, true
}

// close ends the scrape, when its bodies are not used any more.
func (l *ledger) close() {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for i := range l.targets {
		l.giveBack(i)
	}
}
