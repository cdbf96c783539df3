package exposition

import (
	"encoding/binary"
	"slices"
)

// packedOps encodes the operations of a visit.
type packedOps struct {
	buf  []byte
	run  int // offset of the operation of the open run, or -1
	next int // the line of the shape that is expected next

	deviates bool // some operation is not a run; insertOrder does not count
}

func (o *packedOps) op(kind, n int) {
	o.deviates = o.deviates || kind >= opOther
	o.buf = binary.LittleEndian.AppendUint16(o.buf, uint16(n<<2|kind))
}

func (o *packedOps) string(s []byte) {
	o.buf = binary.AppendUvarint(o.buf, uint64(len(s)))
	o.buf = append(o.buf, s...)
}

// line adds a line of the shape to the open run, or opens one. The caller stores its
// tail next.
func (o *packedOps) line(i int) {
	o.skipTo(i)
	if o.run < 0 {
		o.run = len(o.buf)
		o.op(opRun, 0)
	}
	o.next++
	o.grow(1)
}

// skipTo makes a line of the shape the next one.
func (o *packedOps) skipTo(i int) {
	if i == o.next {
		return
	}
	o.closeRun()
	o.op(opOther, otherSkip)
	o.buf = binary.AppendUvarint(o.buf, uint64(i))
	o.next = i
}

// grow extends the open run, and closes it when it is full.
func (o *packedOps) grow(lines int) {
	header := o.buf[o.run:]
	n := int(binary.LittleEndian.Uint16(header)>>2) + lines
	binary.LittleEndian.PutUint16(header, uint16(n<<2|opRun))
	if n == maxRun {
		o.run = -1
	}
}

// room returns how many more lines the open run, or a new one, can take.
func (o *packedOps) room() int {
	if o.run < 0 {
		return maxRun
	}
	return maxRun - int(binary.LittleEndian.Uint16(o.buf[o.run:])>>2)
}

func (o *packedOps) closeRun() { o.run = -1 }

// tail stores a tail that was received as raw and is written as out.
func (o *packedOps) tail(raw, out []byte) {
	if isSame := string(raw) == string(out); isSame && len(raw) <= maxTail {
		o.buf = append(o.buf, byte(len(raw)))
		o.buf = append(o.buf, raw...)
		return
	} else if isSame {
		out = nil
	}
	o.buf = append(o.buf, longTail)
	o.string(raw)
	o.string(out)
}

// extra stores a line that the shape does not have, of the family with that index. An
// empty out means that the line is written as received.
func (o *packedOps) extra(family int, raw, out []byte, insert int) {
	o.closeRun()
	o.op(opExtra, family)
	o.string(raw)
	o.string(out)
	o.buf = binary.AppendUvarint(o.buf, uint64(insert))
}

// variant stores line i of the shape with other label values. The caller stores its
// tail next. Then line i+1 is expected.
func (o *packedOps) variant(i int, values []replaced, text []byte) {
	o.closeRun()
	o.op(opOther, otherVariant)
	o.buf = binary.AppendUvarint(o.buf, uint64(i))
	o.buf = binary.AppendUvarint(o.buf, uint64(len(values)))
	done := uint16(0)
	for _, v := range values {
		o.buf = binary.AppendUvarint(o.buf, uint64(v.place.start-done))
		o.buf = binary.AppendUvarint(o.buf, uint64(v.place.end-v.place.start))
		o.string(text[v.start:v.end])
		done = v.place.end
	}
	o.next = i + 1
}

// noSample stores bytes of the body that are not a sample.
func (o *packedOps) noSample(raw []byte) {
	o.closeRun()
	o.op(opOther, otherNoSample)
	o.string(raw)
}

func (o *packedOps) end() {
	o.closeRun()
	o.op(opEnd, 0)
}

// copy stores an operation of another body, up to its tail, which the caller stores
// next.
func (o *packedOps) copy(op []byte, next int) {
	o.closeRun()
	o.deviates = true
	o.buf = append(o.buf, op...)
	o.next = next
}

// order stores the order in which the lines are written. It must be the first operation
// of a visit.
func (o *packedOps) order(order []byte) {
	o.op(opOther, otherOrder)
	o.string(order)
}

// insertOrder inserts the order before the operations of the visit that begin at an
// offset. order[i] is the line that is written as the i-th one.
func (o *packedOps) insertOrder(at int, order []int32) {
	first := packedOps{run: -1}
	first.order(appendOrder(nil, order))
	o.buf = slices.Insert(o.buf, at, first.buf...)
	o.closeRun()
}

// drop removes operations between two offsets.
func (o *packedOps) drop(start, end int) {
	o.buf = slices.Delete(o.buf, start, end)
	o.closeRun()
}

// appendOrder encodes an order as groups of consecutive lines: how many lines to skip,
// forwards or backwards, and how many follow.
func appendOrder(dst []byte, order []int32) []byte {
	next := int32(0)
	for len(order) > 0 {
		n := 1
		for n < len(order) && order[n] == order[0]+int32(n) {
			n++
		}
		dst = binary.AppendVarint(dst, int64(order[0]-next))
		dst = binary.AppendUvarint(dst, uint64(n))
		next = order[0] + int32(n)
		order = order[n:]
	}
	return dst
}
