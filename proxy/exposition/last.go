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
	byTarget map[uint64]*packed
	size     int64 // of all bodies, in bytes
	swept    time.Time
}

// keptAlong is how long a body is kept if no other one of its target follows. The
// target may be gone.
const keptAlong = 5 * time.Minute

// take removes and returns the last body of a target, or returns nil. The caller owns
// the body.
func (l *lastBodies) take(target uint64) *packed {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.byTarget[target]
	if last != nil {
		l.remove(target, last)
	}
	return last
}

// remove removes a body, whose memory counts as in use again. lastBodies must be
// locked.
func (l *lastBodies) remove(target uint64, last *packed) {
	delete(l.byTarget, target)
	size := last.size()
	l.size -= size
	last.pools.setAside(-size)
}

// put keeps a body that is no longer in use. It releases an older body of the same
// target.
func (l *lastBodies) put(p *packed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.answered = time.Now()
	l.sweep(p.answered)
	if older := l.byTarget[p.target]; older != nil {
		l.remove(p.target, older)
		older.release()
	}
	if l.byTarget == nil {
		l.byTarget = map[uint64]*packed{}
	}
	l.byTarget[p.target] = p
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
	for target, last := range l.byTarget {
		if now.Sub(last.answered) > keptAlong {
			l.remove(target, last)
			last.release()
		}
	}
}

// drop releases all bodies.
func (l *lastBodies) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for target, last := range l.byTarget {
		l.remove(target, last)
		last.release()
	}
}

func (l *lastBodies) memory() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}
