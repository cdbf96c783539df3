package exposition

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"io"
	"slices"
)

const (
	readSize  = 128 << 10           // buffer size for a body that arrives fast
	firstRead = 16 << 10            // initial buffer size
	chunkSize = 1<<placeBits - 1<<8 // size of a chunk at which the next one of packed.chunks begins
)

// errOdd is returned for a body that cannot be read family by family. The reference
// engine then reads it and reports the error, if there is one.
var errOdd = errors.New("not a plain body")

// packer packs one body at a time.
type packer struct {
	parser   // for lines that the shape does not have. Its text is the complete lines in buf
	catalog  *catalog
	src      io.Reader
	buf      []byte
	end      int   // of what was read into buf
	taken    int   // bytes of the body before buf
	isLast   bool  // src is at its end
	free     int64 // bytes of memory for reading that need no reservation
	grown    int64 // bytes of memory for reading that are reserved
	isFull   bool  // the last read filled buf: the body arrives fast
	comments int   // bytes of comment lines and empty lines
	written  int   // bytes of what is written differently

	packed      *packed
	last        *packed // the last body of the target; nil if none is kept
	nextVisit   int     // index of the expected visit in last
	visits      []visit
	visited     []uint32 // by shape.number: the last body (see bodies) that has it
	bodies      uint32   // how many were begun
	families    int      // of the body so far
	mayConflict bool     // some shape of the body is contested
	late        []lateClaim

	// Of the current visit:
	shape       *shape // nil before the first visit
	ops         packedOps
	start       int      // where its operations begin in ops.buf
	high        int      // no line of the shape from here on has been read yet
	seen        []bool   // by line of the shape: whether it was read; empty until a line is late, that is, before high
	extras      idSet    // identities of the lines that the shape does not have
	parts       []uint64 // in OpenMetrics, for each of these lines: its metricHash
	grouper     grouper
	isFollowing bool     // trail predicted all lines so far
	trail       unpacker // of the same visit in last
	trailOrder  int      // size in ops of the order that was copied from trail, in bytes

	replaced []replaced   // of the current line
	anchor   int          // the line of the shape after the last known one
	expected int          // the line of the shape that is expected next
	noted    *unknownLine // the last one: see learner.note
}

// lateClaim is the claim of a visit to a name that no line of its shape has: claim.id
// and shape.number.
type lateClaim struct{ id, number uint32 }

// begin prepares for a body.
func (p *packer) begin(c *catalog, pools *pools, src io.Reader, opts Options) {
	p.parser = parser{in: c.key.in, opts: opts, body: &Body{format: opts.Format, conflicts: map[conflict]int{}}, line: line{labels: p.line.labels}}
	p.series.seed = c.seed
	p.catalog, p.src, p.end, p.isLast = c, src, 0, false
	p.isFull, p.taken, p.grown, p.comments, p.written = false, 0, 0, 0, 0
	p.free = max(chunkSize+readSize, p.memory())
	p.packed = &packed{catalog: c, target: maphash.Bytes(c.seed, opts.Labels.text), pools: pools}
	p.last, p.nextVisit = pools.last.take(p.packed), 0
	p.shape, p.families, p.mayConflict = nil, 0, false
	p.visits, p.late = p.visits[:0], p.late[:0]
	p.body.packed = p.packed
	p.ops = packedOps{buf: p.ops.buf[:0], run: -1}
	p.bodies++
}

// pack packs the body. If it returns errOdd, it has packed everything before
// buf[pos:end].
func (p *packer) pack() error {
	for {
		more, err := p.more()
		switch {
		case err != nil:
			return err
		case !more && p.in == openMetrics:
			return errOdd
		case !more:
			return p.checkClaims()
		}
		if p.isEOF(p.text[p.pos:]) {
			if err := p.takeEOF(); err != nil {
				return err
			}
			return p.checkClaims()
		}
		if err := p.enter(); err != nil {
			return err
		}
		err = p.visit()
		p.ops.end()
		if err != nil {
			return err
		}
		if p.shape.hasParts {
			if err := p.group(); err != nil {
				return err
			}
		}
		if p.extras.count > 0 {
			if further := p.shape.learner.visited(); further != nil {
				p.catalog.extend(p.shape, further)
			}
		}
		if len(p.ops.buf) >= chunkSize {
			if err := p.endChunk(); err != nil {
				return err
			}
		}
	}
}

// endChunk moves the operations so far into a chunk.
func (p *packer) endChunk() error {
	if len(p.ops.buf) == 0 {
		return nil
	}
	chunk, err := keep(p, &p.packed.pools.bytes, p.ops.buf)
	if err != nil {
		return err
	}
	p.packed.chunks = append(p.packed.chunks, chunk)
	p.ops.buf = p.ops.buf[:0]
	return nil
}

// keep copies a part of the packed body into memory of the pools, which it reserves.
func keep[T any](p *packer, from *pool[T], s []T) ([]T, error) {
	_, capacity := class(len(s))
	if err := p.opts.reserve(bytesOf[T](capacity)); err != nil {
		return nil, err
	}
	return append(take(p.packed.pools, from, len(s)), s...), nil
}

// more ensures that the text has a complete line at the position. It returns false at
// the end of the body.
func (p *packer) more() (bool, error) {
	for p.pos == len(p.text) {
		if p.isLast {
			return false, nil
		}
		if err := p.fill(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// memory returns how many bytes of memory reading takes, in addition to the packed body.
func (p *packer) memory() int64 {
	g := &p.grouper
	return int64(cap(p.ops.buf)+cap(p.buf)+cap(p.seen)) + bytesOf[pair](cap(p.line.labels)) + bytesOf[visit](cap(p.visits)) + bytesOf[idSlot](len(p.extras.slots)) +
		bytesOf[uint64](cap(p.parts)) + bytesOf[packedLine](cap(g.lines)) + bytesOf[int32](cap(g.ranks)+cap(g.order)+cap(g.starts))
}

// fill reads the next piece of the body after the rest of the previous one, and moves
// the text to the start of buf. At the end of the body it adds a line feed where the
// format allows it to be missing.
func (p *packer) fill() error {
	if isDone(p.opts.Done) {
		return context.Canceled
	}
	if grown := p.memory() - p.free; grown > p.grown {
		if err := p.opts.reserve(grown - p.grown); err != nil {
			return err
		}
		p.grown = grown
	}
	left := copy(p.buf, p.buf[p.pos:p.end])
	p.taken += p.pos
	p.pos = 0
	if left == len(p.buf) || p.isFull && len(p.buf) < readSize {
		p.buf = slices.Grow(p.buf, len(p.buf))
		p.buf = p.buf[:cap(p.buf)]
	}
	n, err := p.src.Read(p.buf[left:])
	p.end = left + n
	p.isFull = p.end == len(p.buf)
	whole := bytes.LastIndexByte(p.buf[:p.end], '\n') + 1
	if errors.Is(err, io.EOF) {
		p.isLast, err = true, nil
		if rest := p.buf[whole:p.end]; len(rest) > 0 && (p.in == text || string(rest) == "# EOF") {
			p.buf = append(p.buf[:p.end], '\n')
			whole = p.end + 1
			p.buf = p.buf[:cap(p.buf)]
		}
	}
	p.text = p.buf[:whole]
	if err == nil && p.end > maxLine {
		err = checkLines(p.buf[:max(whole, p.end)])
	}
	return err
}

var eof = []byte("# EOF\n")

// isEOF reports whether lines begin with the # EOF of OpenMetrics.
func (p *packer) isEOF(lines []byte) bool {
	return p.in == openMetrics && bytes.HasPrefix(lines, eof)
}

// takeEOF checks that nothing follows # EOF.
func (p *packer) takeEOF() error {
	for !p.isLast {
		if err := p.fill(); err != nil {
			return err
		}
	}
	if p.end-p.pos > len(eof) {
		return errOdd
	}
	return nil
}
