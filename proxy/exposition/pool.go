package exposition

import (
	"math/bits"
	"sync"
	"unsafe"
)

// pools keep the memory of bodies to be used again by the next scrape, so that it is no
// garbage. Safe for concurrent use.
type pools struct {
	mu      sync.Mutex // for what follows
	bytes   pool[byte]
	visits  pool[visit]
	members pool[member]
	used    int64 // bytes that were taken
	peak    int64 // of used, since it was 0
	free    int64 // bytes that can be taken
	aside   int64 // bytes of last

	last lastBodies // has a lock of its own
}

// size is the memory that all slices take, used or not.
func (p *pools) size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used + p.free + p.aside
}

// pool is the free slices of one type, by their class.
type pool[T any] struct{ free [4 * 48][][]T }

// class is the smallest class whose slices hold n elements, and that capacity. Each is
// at most a quarter larger than the one before.
func class(n int) (index, capacity int) {
	n = max(n, 64)
	power := bits.Len(uint(n-1)) - 3 // a quarter is 1<<power
	quarters := (n + 1<<power - 1) >> power
	return 4*power + quarters - 4, quarters << power
}

// take returns an empty slice with room for n elements.
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

// give takes a slice of take back, which must not be used any more.
func give[T any](p *pools, to *pool[T], s []T) {
	index, capacity := class(cap(s))
	if capacity != cap(s) {
		return // it has grown, or is none of take
	}
	size := bytesOf[T](capacity)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free += size
	to.free[index] = append(to.free[index], s[:0])
	p.unused(size)
}

// setAside says that so many bytes are not used any more but kept by last, or the other
// way round if they are negative.
func (p *pools) setAside(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aside += size
	p.unused(size)
}

// unused says that so many bytes are not used any more. The pools must be locked.
func (p *pools) unused(size int64) {
	p.used -= size
	if p.used == 0 { // let go of what is much more than the last scrapes took
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

// letGo lets go of all free slices. The pools must be locked.
func (p *pools) letGo() {
	p.bytes, p.visits, p.members, p.free = pool[byte]{}, pool[visit]{}, pool[member]{}, 0
}

func bytesOf[T any](n int) int64 {
	var element T
	return int64(n) * int64(unsafe.Sizeof(element))
}
