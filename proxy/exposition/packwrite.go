package exposition

// packedPart holds what writing needs of a part with a packed body, close together in
// memory, because writing iterates over all parts for each family.
type packedPart struct {
	first  []byte // chunks[0]
	labels []byte
	chunks [][]byte
}

func packedParts(parts []Part) []packedPart {
	packed := make([]packedPart, len(parts))
	for i := range parts {
		if b := parts[i].Body; b != nil && b.packed != nil && len(b.packed.chunks) > 0 {
			packed[i] = packedPart{b.packed.chunks[0], parts[i].Labels.text, b.packed.chunks}
		}
	}
	return packed
}

// visits writes what packed bodies contribute to a family. The result is the same as
// that of writing each line of packed.each.
func (out *writer) visits(parts []packedPart, f *family, members []member) {
	for _, m := range members {
		p := &parts[m.part]
		chunk := p.first
		if n := m.at >> placeBits; n > 0 {
			chunk = p.chunks[n]
		}
		out.visit(chunk[m.at&(1<<placeBits-1):], f, p.labels)
		out.flushIfFull()
		if out.err != nil {
			return
		}
	}
}

// visit writes what the operations contribute to a family.
func (out *writer) visit(ops []byte, f *family, labels []byte) {
	u := unpacker{shape: f.shape, ops: ops, text: out.variant}
	defer func() { out.variant = u.text }()
	if u.isReordered() {
		for l := range u.ordered(&out.places) {
			out.line(l, f, labels)
		}
		return
	}
	var l packedLine
	for {
		if u.inRun() {
			out.run(&u, f.index, labels)
			if u.left == 0 {
				continue
			}
		}
		if !u.line(&l) {
			return
		}
		out.line(&l, f, labels)
	}
}

// line writes a line if it belongs to the family.
func (out *writer) line(l *packedLine, f *family, labels []byte) {
	switch {
	case l.family != f.index:
		return
	case l.known >= 0:
		head, insert := f.shape.written(l.known)
		out.buf = append(appendLabelled(out.buf, head, insert, labels), l.out...)
	default:
		out.buf = appendLabelled(out.buf, l.out, l.insert, labels)
	}
	out.flushIfFull()
}

// run writes the lines of a run, up to one with a long tail.
func (out *writer) run(u *unpacker, family int32, labels []byte) {
	buf, ops, text := out.buf, u.ops, u.shape.text
	lines := u.shape.lines[u.next : u.next+u.left]
	n := 0
	for ; n < len(lines) && ops[0] != longTail; n++ {
		line, end := &lines[n], 1+int(ops[0])
		if line.family == family {
			buf = appendLabelled(buf, text[line.out:line.outEnd], int(line.insert-line.out), labels)
			buf = append(buf, ops[1:end]...)
		}
		ops = ops[end:]
		if len(buf) >= writeSize {
			out.buf = buf
			out.flush()
			buf = out.buf
		}
	}
	out.buf, u.ops = buf, ops
	u.next += n
	u.left -= n
}
