package scrape

import (
	"errors"
	"os"
	"runtime"
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
	limit   int64 // of the process, in bytes; 0 = none
	fixed   int64 // what else is needed and not measured, in bytes
	least   int64 // what bodies may take in any case, in bytes
	keeper  keeper
	inUse   func() int64 // bytes that the process used at the last garbage collection
	collect func()       // collects garbage

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
	return &memory{
		limit: limit, fixed: ProgramMemory + passingMemory + int64(reading)*readingMemory, least: minMemory,
		keeper: k, inUse: memoryInUse, collect: runtime.GC, isTunable: os.Getenv("GOGC") == "",
	}
}

// workers is how many bodies are read at a time where n are asked for, 0 meaning 8 a core:
// no more than memory has room for.
func workers(n int, limit int64) int {
	if n == 0 {
		n = 8 * runtime.GOMAXPROCS(0)
	}
	if limit > 0 {
		n = int(min(int64(n), limit/(8*readingMemory)))
	}
	return max(n, 8)
}

// measureOthers is what all but bodies takes. It follows a rise at once, and only a deep
// fall, or the targets that are shed would be others from scrape to scrape.
func (m *memory) measureOthers() int64 {
	now := m.outsideBodies()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now > m.others+passingMemory {
		m.collect() // it may be of bodies that were being read at the last collection
		now = m.outsideBodies()
	}
	if now > m.others || now < m.others/2 {
		m.others = now
	}
	return m.others
}

func (m *memory) outsideBodies() int64 { return max(0, m.inUse()-m.keeper.KeptMemory()) }

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
