package exposition

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// catalogKey is what a shape depends on, besides the lines themselves.
type catalogKey struct {
	in     syntax
	out    Format
	labels string // the names of the target's labels
}

// renewal is how long a full catalog stays at least before it is begun anew: shapes that
// no body has any more must not keep others out, nor may learning be all that is done.
const renewal = 10 * time.Minute

// catalog is the shapes that were learned from bodies. It only grows; when it is full,
// bodies of new shapes are read by the reference engine.
type catalog struct {
	key     catalogKey
	limit   int // bytes of all shapes
	made    time.Time
	isFull  atomic.Bool
	labels  Labels // their names count
	seed    maphash.Seed
	first   atomic.Pointer[shape] // of a body: a guess
	unknown atomic.Int64          // bytes of unknown lines in learners

	mu        sync.RWMutex // for what follows
	shapes    []*shape
	byHead    map[string]*shape
	names     map[string]uint32 // that are claimed, to claim.id
	claimants map[uint32]*shape // by claim.id: the last shape that claims it
	families  int               // of all shapes
	size      int               // of all shapes, in bytes
}

func newCatalog(key catalogKey, labels Labels, limit int) *catalog {
	return &catalog{
		key: key, limit: limit, made: time.Now(), labels: labels, seed: maphash.MakeSeed(),
		byHead: make(map[string]*shape), names: make(map[string]uint32), claimants: make(map[uint32]*shape),
	}
}

// find returns the shape that begins with a head, or nil.
func (c *catalog) find(head []byte) *shape {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byHead[string(head)]
}

// add keeps a shape, or returns the one that is there already.
func (c *catalog) add(key string, s *shape) *shape {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.byHead[key]; known != nil {
		return known
	}
	if c.size+s.size() > c.limit {
		c.isFull.Store(true)
		return nil
	}
	c.size += s.size()
	c.enter(key, s)
	return s
}

// enter makes a shape known. The catalog must be locked.
func (c *catalog) enter(key string, s *shape) {
	s.key, s.index, s.number = key, uint32(len(c.shapes)), uint32(len(c.byHead))
	s.isContested = new(atomic.Bool)
	if older := c.byHead[key]; older != nil {
		s.number, s.isContested = older.number, older.isContested
	}
	s.complete(c)
	c.shapes = append(c.shapes, s)
	c.byHead[key] = s
}

// replace makes a newer version of a shape known, whose learner goes on from where the
// older one's is. It returns the newest version, or nil if there is no room for one.
func (c *catalog) replace(older, newer *shape) *shape {
	c.mu.Lock()
	defer c.mu.Unlock()
	if newest := c.byHead[older.key]; newest != older {
		return newest
	}
	newer.learner.version = older.learner.version + 1
	if newer.learner.version > maxVersions {
		return nil
	}
	if c.size+newer.size() > c.limit {
		c.isFull.Store(true)
		return nil
	}
	c.size += newer.size()
	newer.learner.goOn(&older.learner)
	c.enter(older.key, newer)
	newer.next.Store(older.next.Load())
	older.newer.Store(newer)
	return newer
}

// nameID numbers names. The catalog must be locked.
func (c *catalog) nameID(name string) uint32 {
	id, ok := c.names[name]
	if !ok {
		id = uint32(len(c.names))
		c.names[name] = id
	}
	return id
}

// all returns all shapes, by their index, and how many families they have.
func (c *catalog) all() ([]*shape, int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.shapes, c.families
}
