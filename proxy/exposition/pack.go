package exposition

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
)

const (
	readSize  = 128 << 10           // of a piece of a body
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

	packed      *packed
	visits      []visit
	visited     []uint32 // by shape.number: the last body that has it
	bodies      uint32   // that were begun
	families    int      // so far
	mayConflict bool     // some shape of the body is contested
	late        []lateClaim

	// Of the visit:
	shape  *shape // nil before the first
	ops    packedOps
	start  int                 // where they begin in ops.buf
	high   int                 // lines of the shape from here on have not come yet
	seen   []bool              // which lines have, once one came late; else empty
	extras map[uint64]struct{} // identities of the lines that the shape does not know
	parts  []uint64            // in OpenMetrics, of each of these: which metric it is of
	lines  []groupedLine       // see group

	replaced []replaced   // of the line
	anchor   int          // the line of the shape behind the last known one
	noted    *unknownLine // the last one, see learner.note
}

// lateClaim is the claim of a visit to a name that no line of its shape has.
type lateClaim struct{ id, number uint32 }

// begin prepares for a body.
func (p *packer) begin(c *catalog, pools *pools, src io.Reader, opts Options) {
	p.parser = parser{in: c.key.in, opts: opts, body: &Body{format: opts.Format, conflicts: map[conflict]int{}}, line: line{labels: p.line.labels}}
	p.series.seed = c.seed
	p.catalog, p.src, p.end, p.isLast = c, src, 0, false
	p.packed, p.shape, p.families, p.mayConflict = &packed{catalog: c, pools: pools}, nil, 0, false
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
		if p.in == openMetrics && p.atEOF() {
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
			p.group()
		}
		if len(p.extras) > 0 {
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
	_, capacity := class(len(p.ops.buf))
	if err := p.opts.reserve(int64(capacity)); err != nil {
		return err
	}
	chunk := append(take(p.packed.pools, &p.packed.pools.bytes, len(p.ops.buf)), p.ops.buf...)
	p.packed.chunks = append(p.packed.chunks, chunk)
	p.ops.buf = p.ops.buf[:0]
	return nil
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
	left := copy(p.buf, p.buf[p.pos:p.end])
	p.pos = 0
	if left == len(p.buf) {
		p.buf = slices.Grow(p.buf, max(readSize, left))
		p.buf = p.buf[:cap(p.buf)]
	}
	n, err := p.src.Read(p.buf[left:])
	p.end = left + n
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

// atEOF says whether the end of OpenMetrics comes.
func (p *packer) atEOF() bool { return bytes.HasPrefix(p.text[p.pos:], eof) }

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

// enter takes the comment lines with which a family begins, and finds its shape.
func (p *packer) enter() error {
	guess := &p.catalog.first
	if p.shape != nil {
		guess = &p.shape.next
	}
	if s := guess.Load(); s != nil {
		if newer := s.newer.Load(); newer != nil {
			guess.Store(newer)
			s = newer
		}
		if p.isAt(s) {
			return p.beginVisit(s)
		}
	}
	n, err := p.headLength()
	if err != nil {
		return err
	}
	key := p.text[p.pos : p.pos+n]
	if p.shape == nil {
		name, _, _ := bytes.Cut(p.text[p.pos+n:], []byte(" ")) // bodies without comments are told apart by their first line
		key = slices.Concat(key, []byte{0}, name)
	}
	s := p.catalog.find(key)
	if s == nil || s.isEmpty() && p.hasSamples(n) {
		if s, err = p.learn(s, key, n); err != nil {
			return err
		}
	}
	guess.CompareAndSwap(nil, s)
	return p.beginVisit(s)
}

// isAt says whether the lines of a shape come. Its head must be all there is of it.
func (p *packer) isAt(s *shape) bool {
	rest, ok := bytes.CutPrefix(p.text[p.pos:], s.head)
	if !ok || len(s.head) == 0 || len(rest) == 0 {
		return false
	}
	if rest[0] != '#' && s.isEmpty() {
		return false
	}
	if rest[0] != '#' || p.in == openMetrics && bytes.HasPrefix(rest, eof) {
		return true
	}
	name := metadataName(rest)
	return name != nil && s.current != nil && string(name) != s.current.name
}

// metadataName is the name in a HELP, TYPE or UNIT line as programs write it, or nil.
func metadataName(line []byte) []byte {
	rest, ok := bytes.CutPrefix(line, []byte("# "))
	if !ok || len(rest) < 5 || rest[4] != ' ' {
		return nil
	}
	switch string(rest[:4]) {
	case "HELP", "TYPE", "UNIT":
		rest = rest[5:]
		return rest[:bytes.IndexAny(rest, " \n")]
	}
	return nil
}

// headLength is the length of the comment lines that come, up to those of another
// name. Blank lines are among them only at the beginning of a body.
func (p *packer) headLength() (int, error) {
	var name []byte
	return p.lengthWhile(0, func(lines []byte) bool {
		if lines[0] == '\n' {
			return p.shape == nil && name == nil
		}
		if lines[0] != '#' || p.in == openMetrics && bytes.HasPrefix(lines, eof) {
			return false
		}
		other := metadataName(lines)
		if name == nil {
			name = bytes.Clone(other) // reading on moves it
		}
		return other == nil || bytes.Equal(other, name)
	})
}

// lengthWhile makes the text hold all lines from an offset on that are of a kind, and
// returns where they end, as an offset too.
func (p *packer) lengthWhile(from int, isOfKind func(lines []byte) bool) (int, error) {
	for {
		for p.pos+from < len(p.text) {
			lines := p.text[p.pos+from:]
			if !isOfKind(lines) {
				return from, nil
			}
			from += bytes.IndexByte(lines, '\n') + 1
		}
		if p.isLast {
			return from, nil
		}
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
}

// hasSamples says whether samples come behind a head of that length.
func (p *packer) hasSamples(headLength int) bool {
	rest := p.text[p.pos+headLength:]
	return len(rest) > 0 && rest[0] != '#' && rest[0] != '\n'
}

// learn makes a shape of the family that comes, whose head has that length. It takes
// the place of one that was learned where the family had no samples, if there is one.
func (p *packer) learn(empty *shape, key []byte, headLength int) (*shape, error) {
	key = bytes.Clone(key) // reading on moves it
	end, err := p.lengthWhile(headLength, func(lines []byte) bool { return lines[0] != '#' && lines[0] != '\n' })
	if err != nil {
		return nil, err
	}
	s := p.catalog.learn(p.text[p.pos:p.pos+end], headLength, p.shape == nil)
	switch {
	case s == nil:
		return nil, errOdd
	case empty != nil:
		s = p.catalog.replace(empty, s)
	default:
		s = p.catalog.add(string(key), s)
	}
	if s == nil {
		return nil, errOdd
	}
	return s, nil
}

// beginVisit begins the visit of a shape, whose head comes.
func (p *packer) beginVisit(s *shape) error {
	for int(s.number) >= len(p.visited) {
		p.visited = append(p.visited, make([]uint32, 1024)...)
	}
	if p.families += len(s.families); s.isOdd || p.visited[s.number] == p.bodies || p.families > maxFamilies {
		return errOdd
	}
	p.visited[s.number] = p.bodies
	p.mayConflict = p.mayConflict || s.isContested.Load()
	p.pos += len(s.head)
	p.shape, p.current = s, s.current
	p.start, p.ops.next, p.ops.run = len(p.ops.buf), 0, -1
	p.high, p.seen, p.parts, p.noted = 0, p.seen[:0], p.parts[:0], nil
	p.anchor = 0
	if len(p.extras) > 0 {
		clear(p.extras)
	}
	p.visits = append(p.visits, visit{s.index, uint32(len(p.packed.chunks)<<placeBits | p.start)})
	return nil
}

// checkClaims fails if families of the body claim the same name.
func (p *packer) checkClaims() error {
	if !p.mayConflict && len(p.late) == 0 {
		return nil
	}
	shapes, _ := p.catalog.all()
	claimed := map[uint32]bool{}
	for _, v := range p.visits {
		if s := shapes[v.shape]; len(p.late) > 0 || s.isContested.Load() {
			for _, c := range s.claims {
				if isShared, ok := claimed[c.id]; ok && (!isShared || !c.isShared) {
					return errOdd
				}
				claimed[c.id] = c.isShared
			}
		}
	}
	by := map[uint32]uint32{}
	for _, l := range p.late {
		_, ok := claimed[l.id]
		if number, isLate := by[l.id]; ok || isLate && number != l.number {
			return errOdd
		}
		by[l.id] = l.number
	}
	return nil
}
