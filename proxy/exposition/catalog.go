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
	library *library
	made    time.Time
	isFull  atomic.Bool
	labels  Labels // only their names matter
	seed    maphash.Seed
	first   atomic.Pointer[shape] // the first shape of a body: a guess
	unknown atomic.Int64          // bytes of unknown lines in all learners

	size      int64       // of all shapes and unknown lines, in bytes; guarded by library.mu
	used      time.Time   // last; guarded by library.mu
	isDropped atomic.Bool // the library has it no more

	mu        sync.RWMutex // guards the following fields
	shapes    []*shape
	byHead    map[string]*shape
	names     map[claimedName]uint32 // to its claim.id
	claimants []*shape               // by claim.id: the last shape that claims the name
	families  int                    // how many, in all shapes
}

// claimedName is a name and its role.
type claimedName struct {
	role claimRole
	name string
}

type claimRole byte

const (
	claimFamily claimRole = iota
	claimDeclared
	claimSample
)

func newCatalog(key catalogKey, labels Labels, l *library) *catalog {
	return &catalog{
		key: key, library: l, made: time.Now(), labels: labels, seed: maphash.MakeSeed(),
		byHead: make(map[string]*shape), names: make(map[claimedName]uint32),
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
	s.key = key
	if !c.hasRoom(s) {
		return nil
	}
	c.enter(s)
	return s
}

// hasRoom counts the memory of a shape, or marks the catalog as full if there is none.
func (c *catalog) hasRoom(s *shape) bool {
	if !c.library.grow(c, int64(s.size())) {
		c.isFull.Store(true)
		return false
	}
	return true
}

// enter registers a shape, which may be a newer version of another one. The catalog
// must be locked.
func (c *catalog) enter(s *shape) {
	s.index, s.number = uint32(len(c.shapes)), uint32(len(c.byHead))
	s.isContested = new(atomic.Bool)
	if older := c.byHead[s.key]; older != nil {
		s.number, s.isContested = older.number, older.isContested
	}
	s.complete(c)
	c.shapes = append(c.shapes, s)
	c.byHead[s.key] = s
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
	newer.key = older.key
	if !c.hasRoom(newer) {
		return nil
	}
	newer.learner.goOn(&older.learner)
	c.enter(newer)
	newer.next.Store(older.next.Load())
	older.newer.Store(newer)
	return newer
}

// nameID returns the number of a name, and numbers a new one. The catalog must be
// locked.
func (c *catalog) nameID(role claimRole, name string) uint32 {
	id, ok := c.names[claimedName{role, name}]
	if !ok {
		id = uint32(len(c.names))
		c.names[claimedName{role, name}] = id
		c.claimants = append(c.claimants, nil)
	}
	return id
}

// all returns all shapes, ordered by their index, and the number of their families.
func (c *catalog) all() ([]*shape, int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.shapes, c.families
}
