package exposition

import (
	"encoding/binary"
	"iter"
	"slices"
)

// packed is a body as the shapes of its families, and what they do not tell: values,
// and lines that deviate. It loses nothing: from it the body can be written again.
type packed struct {
	catalog *catalog
	visits  []visit  // of pools.visits
	chunks  [][]byte // of pools.bytes
	pools   *pools
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
	otherVariant         // a varint: the number of the shape's line; the values that it replaces; the tail
)

// maxRun bounds the number of an operation.
const maxRun = 1<<14 - 1

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
	op       []byte // its operation, or that of a known line the stored tail
	variant  int    // of which line of the shape it is a variant, or -1
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
	length, n := binary.Uvarint(u.ops)
	s := u.ops[n : n+int(length)]
	u.ops = u.ops[n+int(length):]
	return s
}

func (u *unpacker) number() int {
	number, n := binary.Uvarint(u.ops)
	u.ops = u.ops[n:]
	return int(number)
}

// variant takes a variant.
func (u *unpacker) variant(l *packedLine) {
	u.next = u.number()
	line, prefix := &u.shape.lines[u.next], u.shape.prefix(u.next)
	u.next++
	count := int(u.ops[0])
	u.ops = u.ops[1:]
	text, from := u.text[:0], 0
	for range count {
		v := line.values[u.ops[0]]
		u.ops = u.ops[1:]
		text = append(text, prefix[from:v.start]...)
		text = append(text, u.string()...)
		from = int(v.end)
	}
	text = append(text, prefix[from:]...)
	length := len(text)
	raw, out := u.tail()
	text = append(text, out...)
	*l = packedLine{known: -1, variant: u.next - 1, family: line.family, out: text, raw: text, insert: int(line.insert - line.out)}
	u.text = text
	if len(out) > 0 && &raw[0] != &out[0] {
		l.raw = slices.Concat(text[:length], raw)
	}
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

// line takes the next line, and returns false if there is none.
func (u *unpacker) line(l *packedLine) bool {
	for u.left == 0 {
		from := u.ops
		op := binary.LittleEndian.Uint16(u.ops)
		n := int(op >> 2)
		u.ops = u.ops[2:]
		switch op & 3 {
		case opEnd:
			return false
		case opRun:
			u.left = n
		case opOther:
			switch n {
			case otherNoSample:
				*l = packedLine{known: -1, variant: -1, family: -1, raw: u.string()}
				return u.took(l, from)
			case otherVariant:
				u.variant(l)
				return u.took(l, from)
			}
			u.next = u.number()
		case opExtra:
			*l = packedLine{known: -1, variant: -1, family: int32(n), raw: u.string(), out: u.string()}
			if len(l.out) == 0 {
				l.out = l.raw
			}
			l.insert = u.number()
			return u.took(l, from)
		}
	}
	from := u.ops
	*l = packedLine{known: u.next, variant: -1, family: u.shape.lines[u.next].family}
	l.raw, l.out = u.tail()
	u.next++
	u.left--
	return u.took(l, from)
}

func (u *unpacker) took(l *packedLine, from []byte) bool {
	l.op = from[:len(from)-len(u.ops)]
	return true
}

// each is Body.each for a packed body.
func (p *packed) each(f *family, at uint32, yield func(sampleText) bool) {
	u := p.unpack(f.shape, at)
	under := f.shape.typ()
	var l packedLine
	var text []byte
	for u.line(&l) {
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
