package exposition

import (
	"encoding/binary"
	"slices"
)

// packedLine is one line of a visit.
type packedLine struct {
	known    int    // index of the line in the shape, or -1
	family   int32  // index in shape.families; -1 for a line that is not a sample
	raw, out []byte // as received and as written: the tail of a known line, the whole of another one
	insert   int    // of a line that is not known: see appendLabelled
}

// unpacker iterates over the lines of a visit.
type unpacker struct {
	shape *shape
	ops   []byte
	next  int // the next line of the shape
	left  int // lines left in the run

	text []byte // of a variant, reused
}

func (p *packed) unpack(s *shape, at uint32) unpacker {
	return unpacker{shape: s, ops: p.chunks[at>>placeBits][at&(1<<placeBits-1):]}
}

// startsWithSample reports whether the first operation of the visit is a run or a line
// that the shape does not have. Both are samples.
func (u *unpacker) startsWithSample() bool { return u.ops[0]&3 == opRun || u.ops[0]&3 == opExtra }

// op returns the next operation (see opEnd). No line of a run may be left.
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

// variant consumes a variant.
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

// replacement consumes one replaced value of a variant. It returns what precedes it in
// the rest of the line of the shape, the value that replaces it, and what follows it.
func (u *unpacker) replacement(rest []byte) (before, value, behind []byte) {
	start := u.number()
	end := start + u.number()
	return rest[:start], u.string(), rest[end:]
}

// tail consumes a tail, and returns it as received and as written.
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

// inRun advances to the next line, if it is in a run, and reports whether it is.
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

// line consumes the next line, in the order of the body. It returns false if there is
// none.
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

// isAtEnd reports whether no line is left.
func (u *unpacker) isAtEnd() bool {
	return u.left == 0 && u.op()&3 == opEnd
}
