package exposition

import (
	"encoding/binary"
	"slices"
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

// op is the next operation, if no line of a run is left: see opEnd.
func (u *unpacker) op() uint16 { return binary.LittleEndian.Uint16(u.ops) }

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
		switch op := u.op(); {
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
	op := u.op()
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
	return u.left == 0 && u.op()&3 == opEnd
}
