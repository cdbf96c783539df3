package exposition

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// Reader reads bodies with the same results as Read, but much faster and in much less
// memory if they resemble bodies that it has read before. See the package comment. Safe
// for concurrent use.
type Reader struct {
	packers sync.Pool
	pools   pools
	last    atomic.Pointer[bodyType]

	learned library
}

// NewReader returns a Reader that has no shapes yet. shapes is the memory limit for
// shapes, in bytes. It applies to all formats together.
func NewReader(shapes int) *Reader {
	r := &Reader{packers: sync.Pool{New: func() any { return &packer{buf: make([]byte, firstRead)} }}}
	r.learned = library{limit: int64(shapes), last: &r.pools.last, catalogs: map[catalogKey]*catalog{}}
	return r
}

// bodyType is a result of syntaxOf with its arguments.
type bodyType struct {
	contentType, fallback string
	in                    syntax
}

// syntaxOf is like the function syntaxOf, and caches its last result: most targets send
// the same Content-Type.
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

// largePacker is the size of its memory, in bytes, at which a packer is no longer
// reused.
const largePacker = 1 << 20

// Read is like the function Read, and calls Options.Reserve. The reference engine reads
// protobuf bodies, and all bodies for protobuf output.
func (r *Reader) Read(src io.Reader, opts Options) (*Body, error) {
	in, err := r.syntaxOf(opts.ContentType, opts.Fallback)
	if err != nil || in == protobuf || opts.Format.syntax == protobuf {
		return Read(src, opts)
	}
	p := r.packers.Get().(*packer)
	defer func() {
		if p.memory() < largePacker {
			r.packers.Put(p)
		}
	}()
	p.begin(r.catalogFor(in, opts), &r.pools, src, opts)
	body, err := p.read()
	if err != nil {
		p.packed.release()
		body = nil
	}
	p.releaseLast()
	return body, err
}

// KeptMemory returns how many bytes of memory the Reader holds for bodies, in use or
// for reuse. Shapes do not count.
func (r *Reader) KeptMemory() int64 { return r.pools.size() }

// LastBodies returns how many bytes of KeptMemory hold the last bodies of targets.
func (r *Reader) LastBodies() int64 { return r.pools.last.memory() }

// LearnedMemory returns how many bytes of memory the Reader holds for shapes, and for
// lines that may be added to them.
func (r *Reader) LearnedMemory() int64 { return r.learned.memory() }

// DropFree releases the memory kept for reuse and the last bodies of targets.
func (r *Reader) DropFree() {
	r.pools.last.drop()
	r.pools.dropFree()
}

// catalogFor returns the catalog for bodies that are read with these options.
func (r *Reader) catalogFor(in syntax, opts Options) *catalog {
	return r.learned.catalogFor(in, opts)
}

// read packs the body or, if it is odd, lets the reference engine read it.
func (p *packer) read() (*Body, error) {
	err := p.pack()
	switch {
	case errors.Is(err, errOdd) && p.end+len(p.visits) > 0:
		return p.reread()
	case err != nil && !errors.Is(err, errOdd): // an empty OpenMetrics body is odd, but valid
		return nil, err
	}
	if err := p.endChunk(); err != nil {
		return nil, err
	}
	if p.packed.visits, err = keep(p, &p.packed.pools.visits, p.visits); err != nil {
		return nil, err
	}
	p.packed.deviates = p.ops.deviates
	return p.body, p.opts.reserve(-p.grown)
}

// reread lets the reference engine read the whole body from its beginning.
func (p *packer) reread() (*Body, error) {
	if err := p.endChunk(); err != nil {
		return nil, err
	}
	if err := p.opts.reserve(-p.grown); err != nil {
		return nil, err
	}
	rest := p.buf[min(p.pos, p.end):p.end]
	t := &intake{budget: budget{opts: &p.opts}, in: p.in}
	var err error
	if t.raw, err = room(&t.budget, t.raw, p.taken+p.pos+len(rest)); err != nil {
		return nil, err
	}
	p.packed.visits = p.visits
	t.raw = append(p.packed.appendBody(t.raw), rest...)
	p.packed.visits = nil
	size := p.packed.size()
	p.packed.release()
	if err := p.opts.reserve(-size); err != nil {
		return nil, err
	}
	if err := t.check(len(t.raw)); err != nil {
		return nil, err
	}
	if err := t.add(p.src); err != nil {
		return nil, err
	}
	return index(t, p.opts)
}
