package exposition

// lineIndex finds lines of a shape by their identity, in less memory than a map. It is
// a hash table: its length is a power of two, and a slot holds the index of a line + 1,
// or 0 if it is free. Identities are hashes, so their low bits serve as the first slot
// to try.
type lineIndex []int32

// newLineIndex returns false if two lines have the same identity.
func newLineIndex(lines []shapeLine) (lineIndex, bool) {
	size := 1
	for 3*size < 4*len(lines) || size == len(lines) {
		size *= 2
	}
	x := make(lineIndex, size)
	for i := range lines {
		slot, known := x.slot(lines, lines[i].identity)
		if known {
			return nil, false
		}
		*slot = int32(i + 1)
	}
	return x, true
}

// slot returns the slot of the line with an identity and true, or the free slot where
// it belongs and false.
func (x lineIndex) slot(lines []shapeLine, identity uint64) (slot *int32, known bool) {
	for i := identity; ; i++ {
		slot := &x[i&uint64(len(x)-1)]
		if *slot == 0 {
			return slot, false
		}
		if lines[*slot-1].identity == identity {
			return slot, true
		}
	}
}

// withIdentity returns the index of the line with an identity, or false.
func (s *shape) withIdentity(identity uint64) (int, bool) {
	slot, known := s.bySeries.slot(s.lines, identity)
	return int(*slot) - 1, known
}
