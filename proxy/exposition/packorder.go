package exposition

import (
	"encoding/binary"
	"iter"
)

// isReordered reports whether lines are written in an order other than that of the
// body.
func (u *unpacker) isReordered() bool { return u.op() == otherOrder<<2|opOther }

// takeOrder consumes the order in which the lines are written. It returns nil if it is
// that of the body.
func (u *unpacker) takeOrder() []byte {
	if !u.isReordered() {
		return nil
	}
	u.ops = u.ops[2:]
	return u.string()
}

// linePlace locates a line in the operations of a visit.
type linePlace struct {
	at    int32 // offset of its operation or, in a run, of its tail
	known int32 // index of the line of the shape in a run; -1 for other lines
}

// places appends the places of all lines. The unpacker must be at the first one.
func (u *unpacker) places(dst []linePlace) []linePlace {
	all := u.ops
	for {
		at := int32(len(all) - len(u.ops))
		op := u.op()
		u.ops = u.ops[2:]
		switch n := int(op >> 2); {
		case op&3 == opEnd:
			return dst
		case op&3 == opRun:
			for range n {
				dst = append(dst, linePlace{int32(len(all) - len(u.ops)), int32(u.next)})
				u.skipTail()
				u.next++
			}
			continue
		case op&3 == opExtra:
			u.string()
			u.string()
			u.number()
		case n == otherSkip:
			u.next = u.number()
			continue
		case n == otherNoSample:
			u.string()
		case n == otherVariant:
			u.next = u.number() + 1
			for range u.number() {
				u.number()
				u.number()
				u.string()
			}
			u.skipTail()
		}
		dst = append(dst, linePlace{at, -1})
	}
}

// ordered iterates over the lines in the order in which they are written. A line is
// valid only until the next iteration. scratch is reused if it is large enough.
func (u *unpacker) ordered(scratch *[]linePlace) iter.Seq[*packedLine] {
	return func(yield func(*packedLine) bool) {
		var l packedLine
		order := u.takeOrder()
		if order == nil {
			for u.line(&l) && yield(&l) {
			}
			return
		}
		all := u.ops
		places := u.places((*scratch)[:0])
		*scratch = places
		next := 0
		for len(order) > 0 {
			skipped, n := binary.Varint(order)
			order = order[n:]
			count, n := binary.Uvarint(order)
			order = order[n:]
			next += int(skipped)
			for _, place := range places[next : next+int(count)] {
				u.ops, u.left = all[place.at:], 0
				if place.known >= 0 {
					u.next, u.left = int(place.known), 1
				}
				if u.line(&l); !yield(&l) {
					return
				}
			}
			next += int(count)
		}
	}
}
