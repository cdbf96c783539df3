package exposition

import (
	"math/bits"
	"sync"
)

// pools are those of one Reader.
type pools struct {
	bytes   pool[byte]
	visits  pool[visit]
	members pool[member]
}

// pool keeps slices to be used again, by their capacity. Safe for concurrent use.
type pool[T any] struct {
	classes [4 * 48]sync.Pool // of *[]T
}

// class is the smallest class whose slices hold n elements, and that capacity. Each is
// a quarter of a power of two larger than the one before.
func class(n int) (index, capacity int) {
	n = max(n, 64)
	power := bits.Len(uint(n-1)) - 3 // the quarter is 1<<power
	quarters := (n + 1<<power - 1) >> power
	return 4*power + quarters - 4, quarters << power
}

// clone returns a copy of s.
func (p *pool[T]) clone(s []T) []T { return append(p.get(len(s)), s...) }

// get returns an empty slice with room for n elements.
func (p *pool[T]) get(n int) []T {
	index, capacity := class(n)
	if s, ok := p.classes[index].Get().(*[]T); ok {
		return (*s)[:0]
	}
	return make([]T, 0, capacity)
}

// put takes a slice of get back, which must not be used any more.
func (p *pool[T]) put(s []T) {
	if index, capacity := class(cap(s)); capacity == cap(s) {
		p.classes[index].Put(&s)
	}
}
