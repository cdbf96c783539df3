package exposition

import (
	"bytes"
	"slices"
)

// enter takes the comment lines at the beginning of a family, and finds or learns its
// shape.
func (p *packer) enter() error {
	guess := &p.catalog.first
	if p.shape != nil {
		guess = &p.shape.next
	}
	if s := guess.Load(); s != nil {
		if newer := s.newer.Load(); newer != nil {
			guess.Store(newer)
			s = newer
		}
		if p.isAt(s) {
			return p.beginVisit(s)
		}
	}
	n, err := p.headLength()
	switch {
	case err != nil:
		return err
	case n >= learnSize:
		return errOdd
	}
	key := p.text[p.pos : p.pos+n]
	if p.shape == nil {
		first := p.text[p.pos+n:] // bodies without comments are distinguished by their first name
		key = slices.Concat(key, []byte{0}, first[:max(0, bytes.IndexAny(first, "{ \n"))])
	}
	s := p.catalog.find(key)
	if s == nil || s.isEmpty() && p.hasSamples(n) {
		if s, err = p.learn(s, key, n); err != nil {
			return err
		}
	}
	guess.CompareAndSwap(nil, s)
	return p.beginVisit(s)
}

// isAt reports whether the text continues with a family of a shape. The comment lines
// of the family must be exactly the head of the shape.
func (p *packer) isAt(s *shape) bool {
	rest, ok := bytes.CutPrefix(p.text[p.pos:], s.head)
	if !ok || len(s.head) == 0 || len(rest) == 0 {
		return false
	}
	switch {
	case rest[0] != '#':
		return !s.isEmpty()
	case p.isEOF(rest):
		return true
	}
	name := metadataName(rest)
	return name != nil && s.current != nil && string(name) != s.current.name
}

// metadataName returns the name in a HELP, TYPE or UNIT line that is spelled as
// programs usually do, or nil.
func metadataName(line []byte) []byte {
	rest, ok := bytes.CutPrefix(line, []byte("# "))
	if !ok || len(rest) < 5 || rest[4] != ' ' {
		return nil
	}
	switch string(rest[:4]) {
	case "HELP", "TYPE", "UNIT":
		rest = rest[5:]
		return rest[:bytes.IndexAny(rest, " \n")]
	}
	return nil
}

// headLength returns the length of the next comment lines, up to those of another name.
// Empty lines are included only at the beginning of a body.
func (p *packer) headLength() (int, error) {
	var name []byte
	return p.lengthWhile(0, learnSize, func(lines []byte) bool {
		if lines[0] == '\n' {
			return p.shape == nil && name == nil
		}
		if lines[0] != '#' || p.isEOF(lines) {
			return false
		}
		other := metadataName(lines)
		if name == nil {
			name = bytes.Clone(other) // fill moves the text
		}
		return other == nil || bytes.Equal(other, name)
	})
}

// lengthWhile reads ahead from an offset, as long as the lines are of a kind and size
// is not reached. It returns the offset at which they end. Offsets are relative to the
// position.
func (p *packer) lengthWhile(from, size int, isOfKind func(lines []byte) bool) (int, error) {
	for {
		for p.pos+from < len(p.text) {
			lines := p.text[p.pos+from:]
			if !isOfKind(lines) || from >= size {
				return from, nil
			}
			from += bytes.IndexByte(lines, '\n') + 1
		}
		if p.isLast {
			return from, nil
		}
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
}

// hasSamples reports whether a sample follows a head of that length.
func (p *packer) hasSamples(headLength int) bool {
	rest := p.text[p.pos+headLength:]
	return len(rest) > 0 && isSample(rest)
}

// isSample reports whether lines begin with a sample.
func isSample(lines []byte) bool { return lines[0] != '#' && lines[0] != '\n' }

// learnSize limits, in bytes, the comment lines of a shape, and the beginning of a family
// from which its shape is learned. The learner adds later lines.
const learnSize = 256 << 10

// learn learns the shape of the family that comes next, whose head has that length. It
// replaces empty, if that is not nil: a shape that was learned from a family without
// samples.
func (p *packer) learn(empty *shape, key []byte, headLength int) (*shape, error) {
	key = bytes.Clone(key) // fill moves the text
	end, err := p.lengthWhile(headLength, learnSize, isSample)
	if err != nil {
		return nil, err
	}
	s := p.catalog.learn(p.text[p.pos:p.pos+end], headLength, p.shape == nil)
	switch {
	case s == nil:
		return nil, errOdd
	case empty != nil:
		s = p.catalog.replace(empty, s)
	default:
		s = p.catalog.add(string(key), s)
	}
	if s == nil {
		return nil, errOdd
	}
	return s, nil
}

// beginVisit begins a visit. The text continues with the head of the shape.
func (p *packer) beginVisit(s *shape) error {
	for int(s.number) >= len(p.visited) {
		p.visited = append(p.visited, make([]uint32, 1024)...)
	}
	if p.families += len(s.families); s.isOdd || p.visited[s.number] == p.bodies || p.families > maxFamilies {
		return errOdd
	}
	if err := p.countComments(len(s.head)); err != nil {
		return err
	}
	p.visited[s.number] = p.bodies
	p.mayConflict = p.mayConflict || s.isContested.Load()
	p.pos += len(s.head)
	p.shape, p.current = s, s.current
	p.start, p.ops.next, p.ops.run = len(p.ops.buf), 0, -1
	p.high, p.seen, p.parts, p.noted = 0, p.seen[:0], p.parts[:0], nil
	p.anchor, p.expected = 0, 0
	p.extras.clear()
	p.findTrail()
	p.visits = append(p.visits, visit{s.index, uint32(len(p.packed.chunks)<<placeBits | p.start)})
	return nil
}

// countComments counts bytes of lines that are not samples.
func (p *packer) countComments(bytes int) error {
	if p.comments += bytes; p.comments > maxComments {
		return errComments
	}
	return nil
}

// checkClaims returns errOdd if several families of the body claim the same name.
func (p *packer) checkClaims() error {
	if !p.mayConflict && len(p.late) == 0 {
		return nil
	}
	shapes, _ := p.catalog.all()
	claimed := map[uint32]bool{}
	for _, v := range p.visits {
		if s := shapes[v.shape]; len(p.late) > 0 || s.isContested.Load() {
			for _, c := range s.claims {
				if isShared, ok := claimed[c.id]; ok && (!isShared || !c.isShared) {
					return errOdd
				}
				claimed[c.id] = c.isShared
			}
		}
	}
	by := map[uint32]uint32{}
	for _, l := range p.late {
		_, ok := claimed[l.id]
		if number, isLate := by[l.id]; ok || isLate && number != l.number {
			return errOdd
		}
		by[l.id] = l.number
	}
	return nil
}
