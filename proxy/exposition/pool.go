package exposition

import (
	"math/bits"
	"sync"
	"unsafe"
)

// pools keep the memory of bodies for reuse by the next scrape, so that it does not
// become garbage. Safe for concurrent use.
type pools struct {
	mu      sync.Mutex // guards the following fields except last
	bytes   pool[byte]
	visits  pool[visit]
	members pool[member]
	used    int64 // bytes that are taken
	peak    int64 // maximum of used since it was last 0
	free    int64 // bytes that can be taken
	aside   int64 // bytes in last

	last lastBodies // has its own lock
}

// size returns the memory of all slices, in use or not, in bytes.
func (p *pools) size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used + p.free + p.aside
}

// pool holds the free slices of one type, by class.
type pool[T any] struct{ free [4 * 48][][]T }

// class returns the smallest class whose slices hold n elements, and their capacity.
// The capacity of a class is at most a quarter larger than that of the one before.
func class(n int) (index, capacity int) {
	n = max(n, 64)
	power := bits.Len(uint(n-1)) - 3 // a quarter is 1<<power
	quarters := (n + 1<<power - 1) >> power
	return 4*power + quarters - 4, quarters << power
}

// take returns an empty slice with room for n elements. The caller owns it until give.
func take[T any](p *pools, from *pool[T], n int) []T {
	index, capacity := class(n)
	size := bytesOf[T](capacity)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used += size
	p.peak = max(p.peak, p.used)
	free := from.free[index]
	if len(free) == 0 {
		return make([]T, 0, capacity)
	}
	s := free[len(free)-1]
	from.free[index] = free[:len(free)-1]
	p.free -= size
	return s
}

// give returns a slice to the pools. It must come from take, and must not be used
// afterwards.
func give[T any](p *pools, to *pool[T], s []T) {
	index, capacity := class(cap(s))
	if capacity != cap(s) {
		return // it has grown, or is not from take
	}
	size := bytesOf[T](capacity)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free += size
	to.free[index] = append(to.free[index], s[:0])
	p.unused(size)
}

// setAside moves that many bytes from those in use to those in last, or back if size is
// negative.
func (p *pools) setAside(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aside += size
	p.unused(size)
}

// unused counts that many bytes as no longer in use. The pools must be locked.
func (p *pools) unused(size int64) {
	p.used -= size
	if p.used == 0 { // drop the free slices if they are much more than the last scrapes took
		if p.free > 2*p.peak {
			p.letGo()
		}
		p.peak = 0
	}
}

func (p *pools) dropFree() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.letGo()
}

// letGo drops all free slices. The pools must be locked.
func (p *pools) letGo() {
	p.bytes, p.visits, p.members, p.free = pool[byte]{}, pool[visit]{}, pool[member]{}, 0
}

func bytesOf[T any](n int) int64 {
	var element T
	return int64(n) * int64(unsafe.Sizeof(element))
}
