package exposition

import "encoding/binary"

// visit writes what a visit gives to a family, with the labels of its target. It
// does what writing each line of packed.each would do.
func (out *writer) visit(u unpacker, f *family, labels Labels) {
	s := u.shape
	var l packedLine
	for {
		for u.left > 0 && u.ops[0] != longTail {
			line := &s.lines[u.next]
			n := int(u.ops[0])
			tail := u.ops[1 : 1+n]
			u.ops = u.ops[1+n:]
			u.next++
			u.left--
			if line.family != f.index {
				continue
			}
			out.buf = appendLabelled(out.buf, s.text[line.out:line.outEnd], int(line.insert-line.out), labels.text)
			out.buf = append(out.buf, tail...)
			if len(out.buf) >= writeSize {
				out.flush()
			}
		}
		if u.left == 0 && binary.LittleEndian.Uint16(u.ops)&3 == opRun {
			u.left = int(binary.LittleEndian.Uint16(u.ops) >> 2)
			u.ops = u.ops[2:]
			continue
		}
		if !u.line(&l) {
			return
		}
		if l.family != f.index {
			continue
		}
		if l.known >= 0 {
			line := &s.lines[l.known]
			out.buf = appendLabelled(out.buf, s.text[line.out:line.outEnd], int(line.insert-line.out), labels.text)
			out.buf = append(out.buf, l.out...)
		} else {
			out.buf = appendLabelled(out.buf, l.out, l.insert, labels.text)
		}
		out.flushIfFull()
	}
}
