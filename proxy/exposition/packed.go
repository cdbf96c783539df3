package exposition

import (
	"encoding/binary"
	"iter"
	"slices"
	"time"
)

// packed is a body as the shapes of its families, and what they do not tell: values,
// and lines that deviate. It loses nothing: from it the body can be written again.
type packed struct {
	catalog  *catalog
	target   uint64   // whose body it is
	visits   []visit  // of pools.visits
	chunks   [][]byte // of pools.bytes
	pools    *pools
	deviates bool // it is more than the lines of its shapes, one after the other
	answered time.Time
}

// size is the memory that it takes, in bytes.
func (p *packed) size() int64 {
	size := bytesOf[visit](cap(p.visits))
	for _, c := range p.chunks {
		size += int64(cap(c))
	}
	return size
}

// release gives the memory back.
func (p *packed) release() {
	for _, c := range p.chunks {
		give(p.pools, &p.pools.bytes, c)
	}
	if p.visits != nil {
		give(p.pools, &p.pools.visits, p.visits)
	}
	p.chunks, p.visits = nil, nil
}

// retire gives the memory back, or keeps it so that the next body of the target can be
// read along this one.
func (p *packed) retire() {
	if !p.deviates {
		p.release()
		return
	}
	last := *p
	p.chunks, p.visits, p.deviates = nil, nil, false
	p.pools.last.put(&last)
}

// visit is a family in a body.
type visit struct {
	shape uint32 // in the catalog
	at    uint32 // where its operations begin: a chunk, and a place in the chunk
}

// placeBits are the low bits of visit.at: the place in a chunk.
const placeBits = 18

// operations of a visit, each two bytes: the kind in the low two bits, a number in the
// others, and what the kind says.
const (
	opEnd   = iota // of the visit
	opRun          // so many lines of the shape follow each other; the tails
	opOther        // see below
	opExtra        // a line that the shape does not know, of the family of that number
)

// numbers of opOther
const (
	otherSkip     = iota // a varint: the number of the shape's line that comes next
	otherNoSample        // bytes of the body that are no sample
	otherVariant         // varints: the number of the shape's line, and how many values it replaces; these; the tail
	otherOrder           // before all others: in which order the lines are written. See appendOrder
)

// maxRun bounds the number of an operation.
const maxRun = 1<<14 - 1

// A value that a variant replaces is two varints, how many bytes behind the one before it
// stands and how long it is in the shape's line, and the string that stands there instead.

// A tail is what stands behind the blank after name and labels, with the line feed. It
// is stored behind its length in one byte. A longer one, and one that is written in
// another form than it came, is stored behind longTail as two strings; the second one is
// empty if it equals the first.
const (
	maxTail  = 250
	longTail = 255
)

// packedLine is one line of a visit.
type packedLine struct {
	known    int    // of the shape, or -1
	family   int32  // of the shape; -1 for what is no sample
	raw, out []byte // the tail of a known line, all of another: as it came, and as it is written
	insert   int    // of another line, see writer.sample
}

// unpacker goes through the lines of a visit.
type unpacker struct {
	shape *shape
	ops   []byte
	next  int // line of the shape
	left  int // lines of the run

	text []byte // of a variant, to be used again
}

func (p *packed) unpack(s *shape, at uint32) unpacker {
	return unpacker{shape: s, ops: p.chunks[at>>placeBits][at&(1<<placeBits-1):]}
}

// startsWithSample says whether the visit's first operation is a sample's.
func (u *unpacker) startsWithSample() bool { return u.ops[0]&3 == opRun || u.ops[0]&3 == opExtra }

func (u *unpacker) string() []byte {
	length := u.number()
	s := u.ops[:length]
	u.ops = u.ops[length:]
	return s
}

func (u *unpacker) number() int {
	if n := u.ops[0]; n < 0x80 { // most are
		u.ops = u.ops[1:]
		return int(n)
	}
	number, n := binary.Uvarint(u.ops)
	u.ops = u.ops[n:]
	return int(number)
}

// variant takes a variant.
func (u *unpacker) variant(l *packedLine) {
	u.next = u.number()
	line, rest := &u.shape.lines[u.next], u.shape.prefix(u.next)
	u.next++
	text := u.text[:0]
	for range u.number() {
		before, value, behind := u.replacement(rest)
		text = append(append(text, before...), value...)
		rest = behind
	}
	text = append(text, rest...)
	length := len(text)
	raw, out := u.tail()
	text = append(text, out...)
	*l = packedLine{known: -1, family: line.family, out: text, raw: text, insert: int(line.insert - line.out)}
	u.text = text
	if len(out) > 0 && &raw[0] != &out[0] {
		l.raw = slices.Concat(text[:length], raw)
	}
}

// replacement takes one of a variant: what stands before it in the rest of the shape's
// line, the value that replaces the one there, and what stands behind that.
func (u *unpacker) replacement(rest []byte) (before, value, behind []byte) {
	start := u.number()
	end := start + u.number()
	return rest[:start], u.string(), rest[end:]
}

// tail takes a tail, as it came and as it is written.
func (u *unpacker) tail() (raw, out []byte) {
	n := int(u.ops[0])
	if n != longTail {
		raw = u.ops[1 : 1+n]
		u.ops = u.ops[1+n:]
		return raw, raw
	}
	u.ops = u.ops[1:]
	raw, out = u.string(), u.string()
	if len(out) == 0 {
		out = raw
	}
	return raw, out
}

// inRun goes on to the next line if it is in a run, and says whether it is.
func (u *unpacker) inRun() bool {
	for u.left == 0 {
		switch op := binary.LittleEndian.Uint16(u.ops); {
		case op&3 == opRun:
			u.ops, u.left = u.ops[2:], int(op>>2)
		case op == otherSkip<<2|opOther:
			u.ops = u.ops[2:]
			u.next = u.number()
		case op == otherOrder<<2|opOther:
			u.takeOrder()
		default:
			return false
		}
	}
	return true
}

// line takes the next line in the order in which they came, and returns false if there
// is none.
func (u *unpacker) line(l *packedLine) bool {
	if u.inRun() {
		*l = packedLine{known: u.next, family: u.shape.lines[u.next].family}
		l.raw, l.out = u.tail()
		u.next++
		u.left--
		return true
	}
	op := binary.LittleEndian.Uint16(u.ops)
	u.ops = u.ops[2:]
	switch n := int(op >> 2); {
	case op&3 == opEnd:
		return false
	case op&3 == opExtra:
		*l = packedLine{known: -1, family: int32(n), raw: u.string(), out: u.string()}
		if len(l.out) == 0 {
			l.out = l.raw
		}
		l.insert = u.number()
	case n == otherVariant:
		u.variant(l)
	default: // otherNoSample
		*l = packedLine{known: -1, family: -1, raw: u.string()}
	}
	return true
}

func (u *unpacker) skipTail() {
	if n := int(u.ops[0]); n != longTail {
		u.ops = u.ops[1+n:]
		return
	}
	u.tail()
}

// isAtEnd says whether there is no line any more.
func (u *unpacker) isAtEnd() bool {
	return u.left == 0 && binary.LittleEndian.Uint16(u.ops)&3 == opEnd
}

// each is Body.each for a packed body.
func (p *packed) each(f *family, at uint32, yield func(sampleText) bool) {
	under := f.shape.typ()
	var text []byte
	u := p.unpack(f.shape, at)
	var places []linePlace
	for l := range u.ordered(&places) {
		if l.family != f.index {
			continue
		}
		s := sampleText{text: l.out, insert: l.insert, under: under}
		if l.known >= 0 {
			head, insert := f.shape.written(l.known)
			text = append(append(text[:0], head...), l.out...)
			s.text, s.insert = text, insert
		}
		s.text = s.text[:len(s.text)-1] // the line feed
		if !yield(s) {
			return
		}
	}
}

// families goes through the families of the visits' shapes, each with the place of its
// visit. shapes are those of the catalog.
func (p *packed) families(shapes []*shape) iter.Seq2[*family, uint32] {
	return func(yield func(*family, uint32) bool) {
		for _, v := range p.visits {
			families := shapes[v.shape].families
			for i := range families {
				if !yield(&families[i], v.at) {
					return
				}
			}
		}
	}
}

// hasSamples says whether a visit has samples of a family of its shape.
func (p *packed) hasSamples(f *family, at uint32) bool {
	u := p.unpack(f.shape, at)
	if len(f.shape.families) == 1 && u.startsWithSample() {
		return true
	}
	for l := (packedLine{}); u.line(&l); {
		if l.family == f.index {
			return true
		}
	}
	return false
}

// appendBody writes the body again, as it came.
func (p *packed) appendBody(dst []byte) []byte {
	shapes, _ := p.catalog.all()
	for _, v := range p.visits {
		s := shapes[v.shape]
		dst = append(dst, s.head...)
		u := p.unpack(s, v.at)
		var l packedLine
		for u.line(&l) {
			if l.known >= 0 {
				dst = append(dst, s.prefix(l.known)...)
			}
			dst = append(dst, l.raw...)
		}
	}
	return dst
}
