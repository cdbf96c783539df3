package scrape

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"
)

// largeWork is the size of a body, in bytes, from which indexing it is large work.
const largeWork = 8 << 20

// works admits work on bodies that need much CPU time and memory, so that it delays others
// little: no more than one at a time per core, the smallest first, and large ones on half of
// the cores only. Safe for concurrent use.
type works struct {
	most, mostLarge int
	scratch         int64 // maximum of used, in bytes
	isStrict        bool  // work that needs more than scratch alone is refused

	mu       sync.Mutex // guards the fields below
	running  int
	large    int   // of running
	used     int64 // bytes
	waitlist []*work
}

// work is one piece of work.
type work struct {
	bytes, scratch int64
	admitted       chan struct{} // closed when it may start
}

// newWorks creates works that take at most scratch bytes of memory together.
func newWorks(scratch int64, isStrict bool) *works {
	cores := runtime.GOMAXPROCS(0)
	return &works{most: cores, mostLarge: max(1, cores/2), scratch: scratch, isStrict: isStrict}
}

// start waits until work on a body of that size may start, or ctx ends. It returns errMemory
// for work that never may. done ends the work.
func (s *works) start(ctx context.Context, bytes, scratch int64) (done func(), err error) {
	if scratch > s.scratch && s.isStrict {
		return nil, errMemory
	}
	w := &work{bytes, min(scratch, s.scratch), make(chan struct{})}
	s.mu.Lock()
	at, _ := slices.BinarySearchFunc(s.waitlist, w, func(a, b *work) int { return cmp.Or(cmp.Compare(a.bytes, b.bytes), -1) })
	s.waitlist = slices.Insert(s.waitlist, at, w)
	s.admit()
	s.mu.Unlock()
	select {
	case <-w.admitted:
		return func() { s.end(w) }, nil
	case <-ctx.Done():
		s.mu.Lock()
		i := slices.Index(s.waitlist, w)
		if i >= 0 {
			s.waitlist = slices.Delete(s.waitlist, i, i+1)
			s.admit()
		}
		s.mu.Unlock()
		if i < 0 {
			s.end(w)
		}
		return nil, ctx.Err()
	}
}

// end ends work that was admitted.
func (s *works) end(w *work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.used -= w.scratch
	if w.bytes > largeWork {
		s.large--
	}
	s.admit()
}

// admit starts what may start. The caller holds mu.
func (s *works) admit() {
	for len(s.waitlist) > 0 {
		w := s.waitlist[0]
		isLarge := w.bytes > largeWork
		if s.running == s.most || isLarge && s.large == s.mostLarge || s.used+w.scratch > s.scratch {
			return
		}
		s.waitlist = s.waitlist[1:]
		s.running++
		s.used += w.scratch
		if isLarge {
			s.large++
		}
		close(w.admitted)
	}
}
