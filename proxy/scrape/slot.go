package scrape

import (
	"context"
	"io"
	"sync"
	"time"
)

// slot is the place of a body among those that are read concurrently. Its methods may be called
// concurrently.
type slot struct {
	slots chan struct{}

	mu     sync.Mutex // guards the fields below
	isHeld bool
	isOver bool // release was called
}

// acquire waits for a place until ctx ends, unless release was called.
func (s *slot) acquire(ctx context.Context) error {
	if err := acquireSlot(ctx, s.slots); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isHeld = true
	if s.isOver {
		s.giveBack()
	}
	return nil
}

// release gives the place back for good. It may be called several times.
func (s *slot) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isOver = true
	s.giveBack()
}

// yield lets bodies that wait for a place go first.
func (s *slot) yield(ctx context.Context) error {
	s.mu.Lock()
	isHeld := s.isHeld
	s.giveBack()
	s.mu.Unlock()
	if !isHeld {
		return nil
	}
	return s.acquire(ctx)
}

// giveBack gives the place back, if there is one. The caller holds mu.
func (s *slot) giveBack() {
	if s.isHeld {
		s.isHeld = false
		releaseSlot(s.slots)
	}
}

// yieldEvery is after how many bytes a body lets others go first.
const yieldEvery = 4 << 20

// yieldingReader yields the slot after each yieldEvery bytes, and reports them as large.
type yieldingReader struct {
	io.Reader
	ctx    context.Context
	slot   *slot
	memory *memory
	left   int   // bytes until it yields
	large  int64 // bytes reported to memory
}

func (r *yieldingReader) end() { r.memory.addLarge(-r.large) }

func (r *yieldingReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		r.left = yieldEvery
		r.large += yieldEvery
		r.memory.addLarge(yieldEvery)
		if err := r.slot.yield(r.ctx); err != nil {
			return 0, err
		}
	}
	n, err := r.Reader.Read(p)
	r.left -= n
	return n, err
}

// maxReadWait is the total time that reading a body may wait for the target before the body
// gives up its reading slot, so that a slow target does not delay the others.
const maxReadWait = 20 * time.Millisecond

// releasingBody calls release once its reads have waited longer than maxReadWait in total.
// release may be called more than once.
type releasingBody struct {
	io.ReadCloser
	release func()
	timer   *time.Timer   // calls release
	left    time.Duration // until release
}

func newReleasingBody(body io.ReadCloser, release func()) *releasingBody {
	timer := time.AfterFunc(maxReadWait, release)
	timer.Stop()
	return &releasingBody{body, release, timer, maxReadWait}
}

func (b *releasingBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return b.ReadCloser.Read(p)
	}
	start := time.Now()
	b.timer.Reset(b.left)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if b.left -= time.Since(start); b.left <= 0 { // the timer may not have fired yet
		b.release()
	}
	return n, err
}

// acquireSlot acquires a slot, or returns an error when ctx ends. A nil channel has no limit.
func acquireSlot(ctx context.Context, slots chan struct{}) error {
	if slots == nil {
		return nil
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func releaseSlot(slots chan struct{}) {
	if slots != nil {
		<-slots
	}
}
