package exposition

import "bytes"

// findTrail finds the visit of the current shape in the last body of the target.
func (p *packer) findTrail() {
	p.isFollowing = false
	if p.last == nil {
		return
	}
	visits, expected := p.last.visits, p.nextVisit
	p.nextVisit++ // also if it is not found, for example because its shape has a newer version
	for i := range 2 * lookAhead {
		// first the expected one and those after it, then those before it
		at := expected + i
		if i >= lookAhead {
			at = expected + lookAhead - 1 - i
		}
		if at < 0 || at >= len(visits) || visits[at].shape != p.shape.index {
			continue
		}
		p.nextVisit, p.isFollowing = at+1, true
		p.trail = p.last.unpack(p.shape, visits[at].at)
		if order := p.trail.takeOrder(); order != nil {
			p.ops.order(order)
		}
		p.trailOrder = len(p.ops.buf) - p.start
		return
	}
}

// follow takes one or more lines as they were in the last body. It returns false if the
// next line differs. It does not search, and does not compare with previous lines,
// because the lines of the last body were checked.
func (p *packer) follow() bool {
	u := &p.trail
	if !u.inRun() {
		switch op := u.op(); {
		case op == otherVariant<<2|opOther:
			return p.followVariant()
		case op&3 == opExtra:
			return p.followExtra()
		}
		return false
	}
	p.expected = u.next
	taken := p.run(u.left)
	if taken == 0 {
		if !p.shape.isAt(u.next, p.text[p.pos:]) || p.takeKnown(u.next, p.pos+p.shape.length(u.next)) != nil {
			return false
		}
		taken = 1
	}
	u.left -= taken
	u.next += taken
	for range taken {
		u.skipTail()
	}
	return true
}

// followVariant takes the line if it is the variant that is the next operation of the
// trail.
func (p *packer) followVariant() bool {
	u, from := p.trail, p.trail.ops
	u.ops = u.ops[2:]
	i := u.number()
	rest, at := p.shape.prefix(i), p.pos
	expect := func(piece []byte) bool {
		if !bytes.HasPrefix(p.text[at:], piece) {
			return false
		}
		at += len(piece)
		return true
	}
	for range u.number() {
		before, value, behind := u.replacement(rest)
		if !expect(before) || !expect(value) {
			return false
		}
		rest = behind
	}
	if !expect(rest) {
		return false
	}
	raw, out, err := p.tail(at)
	if err != nil {
		return false
	}
	p.ops.copy(from[:len(from)-len(u.ops)], i+1)
	p.ops.tail(raw, out)
	p.pos = at + len(raw)
	p.body.series++
	u.skipTail()
	u.next = i + 1
	p.trail = u
	return true
}

// followExtra takes the line if it is the one in the next operation of the trail, and
// is plain.
func (p *packer) followExtra() bool {
	u := p.trail
	family := int(u.op() >> 2)
	u.ops = u.ops[2:]
	line, out, insert := u.string(), u.string(), u.number()
	blank := bytes.LastIndexByte(line, ' ')
	if len(out) > 0 || !bytes.HasPrefix(p.text[p.pos:], line[:blank+1]) || line[blank-1] != '}' && bytes.IndexByte(line, ' ') != blank {
		return false // it is written differently, or another line comes, or it has a timestamp
	}
	name, _, _ := bytes.Cut(line[:blank], []byte("{"))
	if known, _ := p.shape.names.find(name); !known.isSeen {
		return false
	}
	tail := plainTail(p.text[p.pos+blank+1:])
	if tail == 0 {
		return false
	}
	length := blank + 1 + tail
	p.ops.extra(family, p.text[p.pos:p.pos+length], nil, insert)
	p.pos += length
	p.body.series++
	p.trail = u
	return true
}

// leaveTrail continues with the shape alone. It first restores the state that following
// a trail does not maintain.
func (p *packer) leaveTrail() error {
	if !p.isFollowing {
		return nil
	}
	p.isFollowing = false
	p.ops.drop(p.start, p.start+p.trailOrder)
	u := unpacker{shape: p.shape, ops: p.opsSoFar()}
	p.high, p.anchor = 0, 0
	isLate := false
	for l := (packedLine{}); u.line(&l); {
		switch {
		case l.known >= 0:
			isLate = isLate || l.known < p.high
			p.high, p.anchor = max(p.high, l.known+1), l.known+1
		case l.family >= 0:
			if err := p.noteFollowed(l.raw); err != nil {
				return err
			}
		}
	}
	p.expected = max(p.high, p.ops.next)
	if isLate {
		p.recall()
	}
	return nil
}

// noteFollowed notes a line, taken along the trail, that the shape does not have.
func (p *packer) noteFollowed(raw []byte) error {
	text, pos := p.text, p.pos
	defer func() { p.text, p.pos = text, pos }()
	p.text, p.pos = raw, 0
	l := &p.line
	if p.scan() != nil {
		return errOdd
	}
	prefix := raw[:l.at]
	name, _ := p.shape.names.find(l.name)
	l.name = []byte(name.written)
	if _, err := p.resolveLabels(); err != nil {
		return errOdd
	}
	p.noteUnknown(p.series.identity(l, p.typ()), p.series.metricHash(l, p.typ(), p.shape.families[name.family].name), prefix)
	return nil
}

// releaseLast releases the last body, along which no more is read, and lets go of all
// that belongs to the catalog, which may be dropped before the next body.
func (p *packer) releaseLast() {
	if p.last != nil {
		p.last.release()
	}
	p.last, p.trail, p.noted = nil, unpacker{}, nil
	p.catalog, p.shape, p.current, p.packed, p.body = nil, nil, nil, nil, nil
}
