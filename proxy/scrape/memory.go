package scrape

import (
	"errors"
	"hash/maphash"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// errMemory is the error of a target that is dropped to stay within MEMORY_LIMIT.
var errMemory = errors.New("dropped because MEMORY_LIMIT would be exceeded: raise it, or share the targets among more replicas")

// ProgramMemory is the size of the pages of the program itself, in bytes. The Go runtime does
// not count them.
const ProgramMemory = 16 << 20

// Memory that is needed in addition and is not measured, in bytes.
const (
	passingMemory = 8 << 20   // allocations between two measurements
	readingMemory = 512 << 10 // reading one body, without what is kept of it and indexing it
)

// minMemory is the memory that bodies may always take, in bytes.
const minMemory = 4 << 20

// memory bounds the total memory of the bodies of all scrapes. Safe for concurrent use.
type memory struct {
	limit   int64 // of the process, in bytes; 0 = none
	fixed   int64 // other memory that is not measured, in bytes
	floor   int64 // memory that bodies may always take, in bytes
	keeper  keeper
	inUse   func() int64 // bytes in use by the process at the last garbage collection
	collect func()       // runs a garbage collection

	isTunable bool       // GOGC is not set
	mu        sync.Mutex // guards the fields below
	bodies    int64      // bytes reserved by all scrapes
	others    int64      // bytes that the process uses for everything else
	eager     bool       // GOGC is halved
	large     int64      // bytes of large bodies that are being read

	seed   maphash.Seed
	sizes  map[string]int64 // bytes that targets took in their last scrapes, by ID
	forgot time.Time        // when sizes were last forgotten

	lingering map[string]int // goroutines that work after the deadline, by ID of their target
}

// largeBodies is the size of bodies, in bytes, above which garbage is collected when the heap
// has grown by half instead of doubled. Memory matters more in that case, and a collection
// costs little, because bodies contain no pointers.
const largeBodies = 32 << 20

// veryLarge is the size of a body, in bytes, after which garbage is collected.
const veryLarge = 16 << 20

// tune adjusts the garbage collector to the size of the bodies, unless GOGC is set.
func (m *memory) tune() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tuneLocked()
}

// addLarge adjusts the garbage collector to the bytes of large bodies that are being read, which
// creates much garbage. When a very large one has been read, it collects the garbage.
func (m *memory) addLarge(bytes int64) {
	if bytes == 0 {
		return
	}
	if bytes <= -veryLarge {
		runtime.GC()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.large += bytes
	m.tuneLocked()
}

func (m *memory) tuneLocked() {
	if eager := m.keeper.KeptMemory()+4*m.large > largeBodies; m.isTunable && eager != m.eager {
		m.eager = eager
		percent := defaultGC
		if eager {
			percent /= 2
		}
		debug.SetGCPercent(percent)
	}
}

// defaultGC is the default of GOGC.
const defaultGC = 100

// keeper is the part of an exposition.Reader that manages the memory of bodies.
type keeper interface {
	KeptMemory() int64
	LastBodies() int64
	DropFree()
}

// newMemory bounds the bodies so that the process stays within limit, if reading bodies are
// read concurrently.
func newMemory(limit int64, reading int, k keeper) *memory {
	return &memory{
		limit: limit, fixed: ProgramMemory + passingMemory + int64(reading)*readingMemory + scratchFor(limit), floor: minMemory,
		seed: maphash.MakeSeed(), sizes: map[string]int64{}, lingering: map[string]int{}, keeper: k, inUse: memoryInUse, collect: collectGarbage, isTunable: os.Getenv("GOGC") == "",
	}
}

// scratchFor returns how many bytes of memory indexing bodies may take, in addition to what is
// kept of them.
func scratchFor(limit int64) int64 {
	const most = 256 << 20
	if limit == 0 {
		return most
	}
	return min(limit/8, most/4)
}

// workers returns the number of bodies to read concurrently: n, or 8 per core if n is 0, but
// at most one per 8 MiB of limit, and at least 8.
func workers(n int, limit int64) int {
	if n == 0 {
		n = 8 * runtime.GOMAXPROCS(0)
	}
	if limit > 0 {
		n = int(min(int64(n), limit/(16*readingMemory)))
	}
	return max(n, 8)
}

// measureOthers returns the memory that everything except bodies takes, in bytes. It follows
// an increase immediately, but a decrease only if it is large. Otherwise different targets
// would be dropped in each scrape.
func (m *memory) measureOthers() int64 {
	now := m.outsideBodies()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now > m.others {
		m.collect() // the increase may be bodies that were being read at the last collection
		now = m.outsideBodies()
	}
	if now > m.others || now < m.others/2 {
		const step = 1 << 20 // small increases must not change which targets are dropped
		m.others = (now + step - 1) / step * step
	}
	return m.others
}

// collectGarbage runs two garbage collections: a sync.Pool keeps its content during the first.
func collectGarbage() {
	runtime.GC()
	runtime.GC()
}

func (m *memory) outsideBodies() int64 { return max(0, m.inUse()-m.keeper.KeptMemory()) }

// memoryInUse returns the memory of the process in bytes, with the heap that was live at the
// last garbage collection.
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
