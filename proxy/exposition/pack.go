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
	readSize  = 128 << 10           // of a piece of a body that comes fast
	firstRead = 16 << 10            // of the first piece
	chunkSize = 1<<placeBits - 1<<8 // of packed.chunks: where the next one begins
)

// errOdd is returned for a body that is not understood family by family. The
// reference engine takes it then, and says what is wrong with it, if anything is.
var errOdd = errors.New("not a plain body")

// packer packs one body at a time.
type packer struct {
	parser  // takes lines apart that the shape does not know. Its text is whole lines of buf
	catalog *catalog
	src     io.Reader
	buf     []byte
	end     int  // of what was read, in buf
	isLast  bool // src is at its end
	scratch int  // bytes of buf and ops that are reserved, or need not be
	isFull  bool // buf was filled by the last read: the body comes fast

	packed      *packed
	last        *packed // what the target answered last; nil if that is not known
	nextVisit   int     // of last, that is expected
	visits      []visit
	visited     []uint32 // by shape.number: the last body that has it
	bodies      uint32   // that were begun
	families    int      // so far
	mayConflict bool     // some shape of the body is contested
	late        []lateClaim

	// Of the visit:
	shape       *shape // nil before the first
	ops         packedOps
	start       int      // where they begin in ops.buf
	high        int      // lines of the shape from here on have not come yet
	seen        []bool   // which lines have, once one came late; else empty
	extras      idSet    // identities of the lines that the shape does not know
	parts       []uint64 // in OpenMetrics, of each of these: which metric it is of
	grouper     grouper
	isFollowing bool     // trail has told all lines so far
	trail       unpacker // of the visit in last
	trailOrder  int      // bytes of its order, in ops

	replaced []replaced   // of the line
	anchor   int          // the line of the shape behind the last known one
	expected int          // the line of the shape that comes next, if all is well
	noted    *unknownLine // the last one, see learner.note
}

// lateClaim is the claim of a visit to a name that no line of its shape has.
type lateClaim struct{ id, number uint32 }

// begin prepares for a body.
func (p *packer) begin(c *catalog, pools *pools, src io.Reader, opts Options) {
	p.parser = parser{in: c.key.in, opts: opts, body: &Body{format: opts.Format, conflicts: map[conflict]int{}}, line: line{labels: p.line.labels}}
	p.series.seed = c.seed
	p.catalog, p.src, p.end, p.isLast = c, src, 0, false
	p.isFull = false
	p.scratch = max(chunkSize+readSize, cap(p.ops.buf)+cap(p.buf))
	p.packed = &packed{catalog: c, target: maphash.Bytes(c.seed, opts.Labels.text), pools: pools}
	p.last, p.nextVisit = pools.last.take(p.packed.target), 0
	p.shape, p.families, p.mayConflict = nil, 0, false
	p.visits, p.late = p.visits[:0], p.late[:0]
	p.body.packed = p.packed
	p.ops = packedOps{buf: p.ops.buf[:0], run: -1}
	p.bodies++
}

// pack packs the body. After errOdd it has packed what stands before buf[pos:end].
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

// endChunk keeps the operations so far.
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

// keep copies a part of the packed body into reserved memory of the pools.
func keep[T any](p *packer, from *pool[T], s []T) ([]T, error) {
	_, capacity := class(len(s))
	if err := p.opts.reserve(bytesOf[T](capacity)); err != nil {
		return nil, err
	}
	return append(take(p.packed.pools, from, len(s)), s...), nil
}

// more makes sure that the text has a whole line, and returns false at the end of the
// body.
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

// fill reads a piece of the body behind what is left of the one before. At the end of
// the body a line feed is added where the format lets it be missing.
func (p *packer) fill() error {
	if isDone(p.opts.Done) {
		return context.Canceled
	}
	if grown := cap(p.ops.buf) + cap(p.buf) - p.scratch; grown > 0 {
		if err := p.opts.reserve(int64(grown)); err != nil {
			return err
		}
		p.scratch += grown
	}
	left := copy(p.buf, p.buf[p.pos:p.end])
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
	return err
}

var eof = []byte("# EOF\n")

// isEOF says whether lines begin with the end of OpenMetrics.
func (p *packer) isEOF(lines []byte) bool {
	return p.in == openMetrics && bytes.HasPrefix(lines, eof)
}

// takeEOF takes the end of OpenMetrics, after which nothing may come.
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
