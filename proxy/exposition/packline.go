package exposition

import (
	"bytes"
)

// lookAhead is how many consecutive lines of a shape a body may leave out before the
// next line is looked up by its series.
const lookAhead = 8

// visit takes the lines of a family.
func (p *packer) visit() error {
	for {
		more, err := p.more()
		if err != nil || !more {
			return err
		}
		switch p.text[p.pos] {
		case '#':
			return nil
		case '\n':
			if p.in == openMetrics {
				return errOdd
			}
			if err := p.leaveTrail(); err != nil {
				return err
			}
			if err := p.countComments(1); err != nil {
				return err
			}
			p.ops.noSample(p.text[p.pos : p.pos+1])
			p.pos++
			continue
		}
		before := p.body.series
		switch {
		case p.isFollowing:
			if !p.follow() {
				if err := p.leaveTrail(); err != nil {
					return err
				}
			}
		case p.run(maxRun) == 0:
			if err := p.takeLine(); err != nil {
				return err
			}
		}
		if err := p.expose(p.body.series - before); err != nil {
			return err
		}
	}
}

// run takes consecutive lines of the shape that have plain values, at most limit, and
// returns how many. Reading spends most of its time here.
func (p *packer) run(limit int) int {
	first := p.expected
	if !p.isFollowing && first < p.high && len(p.seen) == 0 || first == len(p.shape.lines) {
		return 0
	}
	before := p.ops
	p.ops.skipTo(first)
	text, buf, shapeText := p.text[p.pos:], p.ops.buf, p.shape.text
	if p.ops.run < 0 {
		buf = append(buf, opRun, 0)
	}
	start, n := len(buf), 0
	for lines := p.shape.lines[first:min(len(p.shape.lines), first+min(limit, p.ops.room()))]; n < len(lines); n++ {
		l := &lines[n]
		length := int(l.end - l.start)
		if len(text) <= length || string(text[:length]) != string(shapeText[l.start:l.end]) {
			break
		}
		tail := plainTail(text[length:])
		if tail == 0 || len(p.seen) > 0 && !p.isFirst(first+n) {
			break
		}
		buf = append(buf, byte(tail))
		buf = append(buf, text[length:length+tail]...)
		text = text[length+tail:]
		if l.renamed > 0 {
			p.noteRenamed(l)
		}
	}
	if n == 0 {
		p.ops = before
		return 0
	}
	if p.ops.run < 0 {
		p.ops.run = start - 2
	}
	p.ops.buf = buf
	p.ops.grow(n)
	p.ops.next += n
	p.high = max(p.high, p.ops.next)
	p.anchor, p.expected = p.ops.next, p.ops.next
	p.body.series += n
	p.pos = len(p.text) - len(text)
	return n
}

func (p *packer) noteRenamed(l *shapeLine) {
	p.body.conflicts[conflict{LabelConflict, p.shape.families[l.family].name}] += int(l.renamed)
}

// takeLine takes a line that is not the next one of the shape, or whose tail is not
// plain.
func (p *packer) takeLine() error {
	text, next := p.text[p.pos:], p.expected
	for i := max(next-1, 0); i < min(next+lookAhead, len(p.shape.lines)); i++ {
		if p.shape.isAt(i, text) {
			return p.takeKnown(i, p.pos+p.shape.length(i))
		}
	}
	for _, i := range p.candidates() {
		if taken, err := p.takeVariant(i); taken {
			return err
		}
	}
	start := p.pos
	err := p.takeOther()
	if err != nil {
		p.pos = start
	}
	return err
}

// takeKnown takes line i of the shape, whose tail is at an offset of the text.
func (p *packer) takeKnown(i, at int) error {
	if !p.isFollowing && (len(p.seen) > 0 || i < p.high) && !p.isFirst(i) {
		return errOdd
	}
	raw, out, err := p.tail(at)
	if err != nil {
		return err
	}
	p.ops.line(i)
	p.ops.tail(raw, out)
	p.high = max(p.high, i+1)
	p.anchor, p.expected = i+1, p.high // a late line does not tell where the next one is
	p.body.series++
	if l := &p.shape.lines[i]; l.renamed > 0 {
		p.noteRenamed(l)
	}
	p.pos = at + len(raw)
	return nil
}

// isFirst reports whether a line of the shape comes for the first time in this visit,
// and marks it as seen.
func (p *packer) isFirst(i int) bool {
	if len(p.seen) == 0 {
		p.recall()
	}
	isFirst := !p.seen[i]
	p.seen[i] = true
	return isFirst
}

// recall fills seen from the operations of the visit so far.
func (p *packer) recall() {
	p.seen = append(p.seen, make([]bool, len(p.shape.lines))...)
	u := unpacker{shape: p.shape, ops: p.opsSoFar()}
	for l := (packedLine{}); u.line(&l); {
		if l.known >= 0 {
			p.seen[l.known] = true
		}
	}
}

// opsSoFar returns a copy of the operations of the visit so far, with an opEnd.
func (p *packer) opsSoFar() []byte {
	ops := packedOps{buf: bytes.Clone(p.ops.buf[p.start:])}
	ops.end()
	return ops.buf
}

// takeOther parses a line that was not recognized. It may be a line of the shape that
// comes out of order.
func (p *packer) takeOther() error {
	start, l := p.pos, &p.line
	if p.scan() != nil || l.start != start {
		return errOdd
	}
	prefix := p.text[start:l.at]
	name, ok := p.shape.names.find(l.name)
	if !ok { // the next body finds it in the shape
		p.catalog.extend(p.shape, []*unknownLine{{prefix: string(prefix), before: p.anchor}})
		return errOdd
	}
	if name.written != string(l.name) {
		l.name, l.canonical = []byte(name.written), false
	}
	exported, err := p.resolveLabels()
	if err != nil || isUp(l) || !l.fit(p.in, p.opts.Format.syntax) {
		return errOdd
	}
	id := p.series.identity(l, p.typ())
	if i, ok := p.shape.withIdentity(id); ok {
		if !bytes.Equal(p.shape.prefix(i), prefix) {
			return errOdd
		}
		p.pos = start
		return p.takeKnown(i, l.at)
	}
	if p.extras.has(id) || p.isExcessive() {
		return errOdd
	}
	family := &p.shape.families[name.family]
	if exported > 0 {
		p.body.conflicts[conflict{LabelConflict, family.name}] += exported
	}
	if !name.isSeen {
		p.late = append(p.late, lateClaim{name.claim, p.shape.number})
	}
	p.noteUnknown(id, p.series.metricHash(l, p.typ(), family.name), prefix)
	p.keepOther(name.family, p.text[start:p.pos])
	return nil
}

// maxExtras is how many lines that the shape does not have a visit may have. The memory for
// reading them is in no proportion to their length. The reference engine reads bodies with
// more of them one at a time: see Options.Work.
const maxExtras = 1 << 16

// isExcessive reports whether the lines that the shape does not have are more than reading may
// take memory for.
func (p *packer) isExcessive() bool {
	return p.extras.count >= maxExtras || p.opts.MaxText > 0 && p.written > p.opts.MaxText
}

// noteUnknown notes a line that the shape does not have.
func (p *packer) noteUnknown(id, metric uint64, prefix []byte) {
	p.extras.add(id)
	if p.shape.hasParts {
		p.parts = append(p.parts, metric)
	}
	p.noted = p.shape.learner.note(p.packed.target, prefix, p.anchor, p.noted)
}

// keepOther stores the line in p.line, which belongs to a family of the shape.
func (p *packer) keepOther(family int32, raw []byte) {
	l := &p.line
	if l.canonical && l.end == l.start+len(raw)-1 {
		p.ops.extra(int(family), raw, nil, l.insert-l.start)
	} else {
		out, insert := l.appendTo(nil)
		p.written += len(out)
		p.ops.extra(int(family), raw, append(out, '\n'), insert)
	}
	p.body.series++
}
