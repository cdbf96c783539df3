package exposition

import (
	"sync"
	"time"
)

// lastBodies keeps the last body of each target, if it deviates from its shapes. The
// next body probably deviates in the same way and can be read along it: see
// packer.follow. Safe for concurrent use.
type lastBodies struct {
	mu       sync.Mutex // guards the following fields
	byTarget map[lastKey]*packed
	size     int64 // of all bodies, in bytes
	swept    time.Time
}

// lastKey is a target, and the catalog that its body refers to: only a body of the same
// catalog can be read along it.
type lastKey struct {
	catalog *catalog
	target  uint64 // see packed.target
}

func keyOf(p *packed) lastKey { return lastKey{p.catalog, p.target} }

// keptAlong is how long a body is kept if no other one of its target follows. The
// target may be gone.
const keptAlong = 5 * time.Minute

// take removes and returns the last body of the target of a body, or returns nil. The
// caller owns it.
func (l *lastBodies) take(next *packed) *packed {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.byTarget[keyOf(next)]
	if last != nil {
		l.remove(last)
	}
	return last
}

// remove removes a body, whose memory counts as in use again. lastBodies must be
// locked.
func (l *lastBodies) remove(last *packed) {
	delete(l.byTarget, keyOf(last))
	size := last.size()
	l.size -= size
	last.pools.setAside(-size)
}

// put keeps a body that is no longer in use, unless its catalog was dropped. It
// releases an older body of the same target.
func (l *lastBodies) put(p *packed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.catalog.isDropped.Load() {
		p.release()
		return
	}
	p.answered = time.Now()
	l.sweep(p.answered)
	if older := l.byTarget[keyOf(p)]; older != nil {
		l.remove(older)
		older.release()
	}
	if l.byTarget == nil {
		l.byTarget = map[lastKey]*packed{}
	}
	l.byTarget[keyOf(p)] = p
	size := p.size()
	l.size += size
	p.pools.setAside(size)
}

// sweep releases bodies that are too old, at most once per keptAlong/5. lastBodies must
// be locked.
func (l *lastBodies) sweep(now time.Time) {
	if now.Sub(l.swept) < keptAlong/5 {
		return
	}
	l.swept = now
	l.releaseThose(func(last *packed) bool { return now.Sub(last.answered) > keptAlong })
}

// drop releases all bodies.
func (l *lastBodies) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releaseThose(func(*packed) bool { return true })
}

// dropOf releases the bodies of a catalog, which must be marked as dropped.
func (l *lastBodies) dropOf(c *catalog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releaseThose(func(last *packed) bool { return last.catalog == c })
}

// releaseThose releases the bodies that match. lastBodies must be locked.
func (l *lastBodies) releaseThose(matches func(*packed) bool) {
	for _, last := range l.byTarget {
		if matches(last) {
			l.remove(last)
			last.release()
		}
	}
}

func (l *lastBodies) memory() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}
