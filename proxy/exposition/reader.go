package exposition

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// Reader reads bodies as Read does, much faster and in much less memory where they
// resemble bodies that it has read before. See the package comment. Safe for
// concurrent use.
type Reader struct {
	packers sync.Pool
	pools   pools
	last    atomic.Pointer[bodyType]

	mu       sync.Mutex // for catalogs
	catalogs map[catalogKey]*catalog
}

// NewReader makes a Reader that knows no shape yet.
func NewReader() *Reader {
	return &Reader{
		packers:  sync.Pool{New: func() any { return &packer{buf: make([]byte, readSize)} }},
		catalogs: map[catalogKey]*catalog{},
	}
}

// bodyType is the syntax of a Content-Type.
type bodyType struct {
	contentType, fallback string
	in                    syntax
}

// syntaxOf is the package's syntaxOf. It remembers its last answer: most targets say
// the same.
func (r *Reader) syntaxOf(contentType, fallback string) (syntax, error) {
	if last := r.last.Load(); last != nil && last.contentType == contentType && last.fallback == fallback {
		return last.in, nil
	}
	in, err := syntaxOf(contentType, fallback)
	if err == nil {
		r.last.Store(&bodyType{contentType, fallback, in})
	}
	return in, err
}

// Read is the package's Read.
func (r *Reader) Read(src io.Reader, opts Options) (*Body, error) {
	in, err := r.syntaxOf(opts.ContentType, opts.Fallback)
	if err != nil || in == protobuf || opts.Format.syntax == protobuf {
		return Read(src, opts)
	}
	p := r.packers.Get().(*packer)
	defer r.packers.Put(p)
	p.begin(r.catalogFor(in, opts), &r.pools, src, opts)
	if err := p.pack(); err != nil && !errors.Is(err, errOdd) {
		return nil, err
	} else if err != nil && p.end+len(p.visits) > 0 {
		return p.reread()
	}
	return p.finish(), nil
}

// catalogFor returns the shapes of bodies that are read in this way.
func (r *Reader) catalogFor(in syntax, opts Options) *catalog {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := catalogKey{in: in, out: opts.Format, labels: opts.Labels.key}
	c := r.catalogs[key]
	if c == nil {
		c = newCatalog(key, opts.Labels)
		r.catalogs[key] = c
	}
	return c
}

// finish makes the body of what was packed.
func (p *packer) finish() *Body {
	p.endChunk()
	p.packed.visits = p.packed.pools.visits.clone(p.visits)
	return p.body
}

// reread has the reference engine read the whole body, from its beginning.
func (p *packer) reread() (*Body, error) {
	p.endChunk()
	p.packed.visits = p.visits
	raw := p.packed.appendBody(nil)
	raw = append(raw, p.buf[min(p.pos, p.end):p.end]...)
	rest, err := io.ReadAll(p.src)
	if err != nil {
		return nil, err
	}
	return index(append(raw, rest...), p.in, p.opts)
}
