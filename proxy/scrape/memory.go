package scrape

import (
	"errors"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// errMemory is what a target is down with that is shed to stay within MEMORY_LIMIT.
var errMemory = errors.New("shed, or MEMORY_LIMIT would be passed: raise it, or let more replicas share the targets")

// ProgramMemory is what the pages of the program itself take, in bytes. The runtime does
// not count them.
const ProgramMemory = 16 << 20

// What the process needs besides, and is not measured, in bytes: what is between two
// measurements, and what reading a body takes besides what is kept of it.
const (
	passingMemory = 8 << 20
	readingMemory = 1 << 20
)

// minMemory is what bodies may take in any case, in bytes.
const minMemory = 4 << 20

// memory bounds what the bodies of all scrapes take together. Safe for concurrent use.
type memory struct {
	limit  int64 // of the process, in bytes; 0 = none
	fixed  int64 // what else is needed and not measured, in bytes
	least  int64 // what bodies may take in any case, in bytes
	keeper keeper
	inUse  func() int64 // bytes that the process uses

	isTunable bool       // GOGC is not set
	mu        sync.Mutex // for what follows
	bodies    int64      // reserved by all scrapes
	others    int64      // bytes that the process uses for all else
	eager     bool       // garbage is collected early
}

// largeBodies is from how many bytes of bodies on garbage is collected when the heap has
// grown by half instead of doubled: memory matters more then, and collecting costs little,
// since bodies have no pointers.
const largeBodies = 32 << 20

// tune makes the collector fit the bodies, unless GOGC says otherwise.
func (m *memory) tune() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if eager := m.keeper.KeptMemory() > largeBodies; m.isTunable && eager != m.eager {
		m.eager = eager
		percent := usualGC
		if eager {
			percent /= 2
		}
		debug.SetGCPercent(percent)
	}
}

// usualGC is GOGC's default.
const usualGC = 100

// keeper keeps the memory of bodies: an exposition.Reader.
type keeper interface {
	KeptMemory() int64
	LastBodies() int64
	DropFree()
}

// newMemory bounds bodies so that the process keeps to a limit, where so many are read at
// a time.
func newMemory(limit int64, reading int, k keeper) *memory {
	return &memory{limit: limit, fixed: ProgramMemory + passingMemory + int64(reading)*readingMemory, least: minMemory, keeper: k, inUse: memoryInUse, isTunable: os.Getenv("GOGC") == ""}
}

// memoryInUse is what the process uses, with what lived at the last garbage collection.
func memoryInUse() int64 {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/metadata/mcache/inuse:bytes"},
		{Name: "/memory/classes/metadata/mspan/inuse:bytes"},
		{Name: "/memory/classes/metadata/other:bytes"},
		{Name: "/memory/classes/os-stacks:bytes"},
		{Name: "/memory/classes/other:bytes"},
	}
	metrics.Read(samples)
	var sum uint64
	for _, s := range samples {
		sum += s.Value.Uint64()
	}
	return int64(sum)
}

// ledger says what the targets of one scrape have reserved. Targets are shed from the
// last one on, so that the same ones are from scrape to scrape.
type ledger struct {
	memory  *memory
	limit   int64   // of memory.bodies
	targets []int64 // bytes reserved for each
	results []Result
	done    []bool // whose result is there
	shed    int    // targets from here on are shed
}

// open begins a scrape, whose results are to be stored in results.
func (m *memory) open(results []Result) *ledger {
	l := &ledger{memory: m, results: results, targets: make([]int64, len(results)), done: make([]bool, len(results)), shed: len(results)}
	if m.limit > 0 {
		// A fifth is for garbage.
		l.limit = max(m.least, m.limit-m.limit/5-m.fixed-m.measureOthers())
	}
	return l
}

// measureOthers is what all but bodies takes. It follows a rise at once, and only a deep
// fall, or the targets that are shed would be others from scrape to scrape.
func (m *memory) measureOthers() int64 {
	now := max(0, m.inUse()-m.keeper.KeptMemory())
	m.mu.Lock()
	defer m.mu.Unlock()
	if now > m.others || now < m.others/2 {
		m.others = now
	}
	return m.others
}

// reserve is exposition.Options.Reserve for a target.
func (l *ledger) reserve(target int, bytes int64) error {
	if l.limit == 0 {
		return nil
	}
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if l.memory.bodies+bytes+l.memory.keeper.LastBodies() > l.limit {
		l.memory.keeper.DropFree()
	}
	for target < l.shed && l.memory.bodies+bytes > l.limit {
		l.shedLast(target)
	}
	if target >= l.shed {
		return errMemory
	}
	l.targets[target] += bytes
	l.memory.bodies += bytes
	return nil
}

// shedLast sheds the last target that has reserved anything, or the one that asks.
func (l *ledger) shedLast(asking int) {
	for l.shed--; l.shed > asking; l.shed-- {
		if l.targets[l.shed] > 0 {
			break
		}
	}
	l.giveBack(l.shed)
	if l.done[l.shed] {
		l.results[l.shed].shed()
	}
	l.memory.keeper.DropFree()
}

func (l *ledger) giveBack(target int) {
	l.memory.bodies -= l.targets[target]
	l.targets[target] = 0
}

// store keeps the result of a target, unless that has been shed meanwhile.
func (l *ledger) store(target int, r Result) {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if target >= l.shed && r.part.Body != nil {
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
