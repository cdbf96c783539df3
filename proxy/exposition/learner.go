package exposition

import (
	"bytes"
	"slices"
	"sync"
)

const (
	learningVisits = 8  // visits with unknown lines during which a shape learns
	restingVisits  = 64 // visits with unknown lines until it learns again, initially
	maxVersions    = 32 // newer versions of a shape
	learnerShare   = 8  // unknown lines of a catalog may take this fraction (1/8) of the limit of the library
)

// learner finds lines that several bodies have and their shape lacks. With them, a
// shape comes to hold what is common, whatever its first body was like. Safe for
// concurrent use.
type learner struct {
	catalog *catalog
	mu      sync.Mutex
	version int
	rest    int // visits with unknown lines until it learns again; doubles each time
	visits  int // visits with unknown lines since it began to learn or to rest
	resting bool
	unknown map[string]*unknownLine
	first   *unknownLine // head of their list, in which each follows the one that it came after
	size    int64        // of unknown, in bytes
}

// unknownLine is a line that a shape lacks, without its value.
type unknownLine struct {
	prefix string
	before int    // index of the line of the shape that was expected
	by     uint64 // the target that had it last
	bodies int    // how many have it; successive bodies of one target count once
	next   *unknownLine
}

// goOn continues in the state of the learner of an older version, which forgets its
// lines.
func (l *learner) goOn(older *learner) {
	older.mu.Lock()
	defer older.mu.Unlock()
	l.rest, l.resting = older.rest, older.resting
	older.forget()
}

// forget drops the unknown lines. The learner must be locked.
func (l *learner) forget() {
	l.catalog.unknown.Add(-l.size)
	l.catalog.library.shrink(l.catalog, l.size)
	l.unknown, l.first, l.size = nil, nil, 0
}

// note remembers an unknown line of a target while the shape learns, and returns it;
// otherwise it returns nil. after is the unknown line noted before it in the same
// visit, or nil.
func (l *learner) note(by uint64, prefix []byte, before int, after *unknownLine) *unknownLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resting {
		return nil
	}
	if known := l.unknown[string(prefix)]; known != nil {
		if known.by != by {
			known.by = by
			known.bodies++
		}
		return known
	}
	size := unknownSize(len(prefix), l.unknown == nil)
	if l.catalog.unknown.Load()+size > l.catalog.library.limit/learnerShare || !l.catalog.library.grow(l.catalog, size) {
		return nil
	}
	l.catalog.unknown.Add(size)
	l.size += size
	if l.unknown == nil {
		l.unknown = map[string]*unknownLine{}
	}
	u := &unknownLine{prefix: string(prefix), before: before, by: by, bodies: 1}
	l.unknown[u.prefix] = u
	behind := &l.first
	if after != nil && after.before == before {
		behind = &after.next
	}
	u.next, *behind = *behind, u
	return u
}

// visited counts a visit with unknown lines. At the end of learning it returns the
// lines that recurred, in the order of before.
func (l *learner) visited() []*unknownLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.visits++
	switch {
	case l.resting && l.visits >= l.rest:
		l.resting, l.visits, l.rest = false, 0, 2*l.rest
	case !l.resting && l.visits >= learningVisits:
		var recurring []*unknownLine
		for u := l.first; u != nil; u = u.next {
			if u.bodies > 1 {
				recurring = append(recurring, u)
			}
		}
		l.resting, l.visits = true, 0
		l.forget()
		slices.SortStableFunc(recurring, func(a, b *unknownLine) int { return a.before - b.before })
		return recurring
	}
	return nil
}

// extend adds a newer version of a shape with further lines, each inserted before a
// line of the shape. They must be in the order of before.
func (c *catalog) extend(s *shape, further []*unknownLine) {
	if s.learner.version == maxVersions || s.newer.Load() != nil {
		return
	}
	lines := bytes.Clone(s.head)
	add := func(prefix []byte) {
		lines = append(lines, prefix...)
		lines = append(lines, "0\n"...)
	}
	for i := range len(s.lines) + 1 {
		for len(further) > 0 && further[0].before <= i {
			add([]byte(further[0].prefix))
			further = further[1:]
		}
		if i < len(s.lines) {
			add(s.prefix(i))
		}
	}
	if newer := c.learn(lines, len(s.head), s.beginsBody); newer != nil {
		c.replace(s, newer)
	}
}
