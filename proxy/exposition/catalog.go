package exposition

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// catalogKey is what a shape depends on besides its lines.
type catalogKey struct {
	in     syntax
	out    Format
	labels string // the names of the target's labels
}

// renewal is the minimum age at which a full catalog is replaced by an empty one.
// Shapes that no body has any more must not keep others out, but the Reader must not
// spend all its time on learning either.
const renewal = 10 * time.Minute

// catalog holds the shapes learned from bodies. It only grows. When it is full, the
// reference engine reads bodies that have other shapes.
type catalog struct {
	key     catalogKey
	limit   int // of all shapes, in bytes
	made    time.Time
	isFull  atomic.Bool
	labels  Labels // only their names matter
	seed    maphash.Seed
	first   atomic.Pointer[shape] // the first shape of a body: a guess
	unknown atomic.Int64          // bytes of unknown lines in all learners

	mu        sync.RWMutex // guards the following fields
	shapes    []*shape
	byHead    map[string]*shape
	names     map[string]uint32 // from a claimed name to its claim.id
	claimants map[uint32]*shape // from a claim.id to the last shape that claims it
	families  int               // how many, in all shapes
	size      int               // of all shapes, in bytes
}

func newCatalog(key catalogKey, labels Labels, limit int) *catalog {
	return &catalog{
		key: key, limit: limit, made: time.Now(), labels: labels, seed: maphash.MakeSeed(),
		byHead: make(map[string]*shape), names: make(map[string]uint32), claimants: make(map[uint32]*shape),
	}
}

// find returns the newest version of the shape with the key head, or nil.
func (c *catalog) find(head []byte) *shape {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byHead[string(head)]
}

// add adds a shape, or returns the shape that already has the key. It returns nil if
// the catalog is full.
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

// enter registers a shape, which may be a newer version of another one. The catalog
// must be locked.
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

// replace registers a newer version of a shape. Its learner continues in the state of
// the older one. It returns the newest version, or nil if there is no room for one.
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

// nameID returns the number of a name, and numbers a new one. The catalog must be
// locked.
func (c *catalog) nameID(name string) uint32 {
	id, ok := c.names[name]
	if !ok {
		id = uint32(len(c.names))
		c.names[name] = id
	}
	return id
}

// all returns all shapes, ordered by their index, and the number of their families.
func (c *catalog) all() ([]*shape, int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.shapes, c.families
}
