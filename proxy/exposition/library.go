package exposition

import (
	"sync"
	"time"
)

const (
	maxCatalogs = 64              // clients choose the formats, and each takes a catalog
	idleAfter   = 5 * time.Minute // a catalog that is not used for so long gives way to others
)

// library holds the catalogs of a Reader, which share one limit of memory. If the limit
// is reached by a catalog that grows, another one gives way, as a whole: the least
// recently used one of those that are idle. If none is, it is the least recently used
// one of those that have more than their share, but only if the growing one has less.
// From then on, none grows beyond its share for some time. Otherwise, several formats
// that are scraped alternately would displace each other at each scrape. Bodies that
// use a catalog may outlive its being dropped. Safe for concurrent use.
type library struct {
	limit int64       // of all catalogs, in bytes
	last  *lastBodies // those of a dropped catalog are released

	mu        sync.Mutex // guards the following fields, and catalog.size and used
	catalogs  map[catalogKey]*catalog
	size      int64     // of all catalogs, in bytes
	contested time.Time // when a catalog that was not idle gave way last
	sharers   int       // how many catalogs were not idle then
}

// catalogFor returns the catalog for bodies that are read with these options.
func (l *library) catalogFor(in syntax, opts Options) *catalog {
	key := catalogKey{in: in, out: opts.Format, labels: opts.Labels.key}
	key.out.version = "" // does not matter for reading
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.catalogs[key]
	if c != nil && c.isFull.Load() && now.Sub(c.made) > renewal {
		l.drop(c)
		c = nil
	}
	if c == nil {
		if len(l.catalogs) == maxCatalogs {
			l.drop(l.oldest(func(*catalog) bool { return true }))
		}
		c = newCatalog(key, opts.Labels, l)
		l.catalogs[key] = c
	}
	c.used = now
	return c
}

// grow counts memory that a catalog takes in addition. It returns false, and counts
// nothing, if there is no room for it.
func (l *library) grow(c *catalog, bytes int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.isDropped.Load() || bytes > l.limit {
		return false
	}
	now := time.Now()
	if c.size+bytes > l.share(now) && now.Sub(l.contested) < renewal {
		return false
	}
	for l.size+bytes > l.limit {
		other := l.yielding(c, bytes, now)
		if other == nil {
			return false
		}
		if now.Sub(other.used) < idleAfter {
			l.contested, l.sharers = now, l.active(now)
		}
		l.drop(other)
		c.isFull.Store(false)
	}
	l.size += bytes
	c.size += bytes
	return true
}

// shrink counts memory that a catalog no longer takes.
func (l *library) shrink(c *catalog, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.isDropped.Load() {
		l.size -= bytes
		c.size -= bytes
	}
}

// yielding returns the catalog that gives way to the growth of c, or nil. The library
// must be locked, as for the following methods.
func (l *library) yielding(c *catalog, bytes int64, now time.Time) *catalog {
	share := l.share(now)
	return l.oldest(func(o *catalog) bool {
		return o != c && (now.Sub(o.used) >= idleAfter || c.size+bytes <= share && o.size > share)
	})
}

// share returns the part of the limit for each catalog that is not idle, in bytes.
func (l *library) share(now time.Time) int64 {
	n := l.active(now)
	if now.Sub(l.contested) < renewal {
		n = max(n, l.sharers)
	}
	return l.limit / int64(max(n, 1))
}

// active returns how many catalogs are not idle.
func (l *library) active(now time.Time) int {
	n := 0
	for _, c := range l.catalogs {
		if now.Sub(c.used) < idleAfter {
			n++
		}
	}
	return n
}

// oldest returns the least recently used of the catalogs that match, or nil.
func (l *library) oldest(matches func(*catalog) bool) *catalog {
	var oldest *catalog
	for _, c := range l.catalogs {
		if matches(c) && (oldest == nil || c.used.Before(oldest.used)) {
			oldest = c
		}
	}
	return oldest
}

// drop drops a catalog. Its memory becomes garbage when the bodies that use it are
// released.
func (l *library) drop(c *catalog) {
	delete(l.catalogs, c.key)
	l.size -= c.size
	c.isDropped.Store(true)
	l.last.dropOf(c)
}

func (l *library) memory() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}
