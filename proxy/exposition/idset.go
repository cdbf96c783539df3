package exposition

// idSet is a set of identities that is cheap to clear. The zero value must be cleared
// before the first add.
type idSet struct {
	slots []idSlot // the length is a power of two
	round uint32   // slots of other rounds are free
	count int
}

type idSlot struct {
	id    uint64
	round uint32
}

// clear empties the set.
func (s *idSet) clear() {
	s.count = 0
	s.round++
	if s.round == 0 { // overflow
		clear(s.slots)
		s.round = 1
	}
}

// slot returns the slot of an id, or the free slot where it belongs. Ids are hashes, so
// their low bits serve as the index.
func (s *idSet) slot(id uint64) *idSlot {
	for i := id; ; i++ {
		slot := &s.slots[i&uint64(len(s.slots)-1)]
		if slot.round != s.round || slot.id == id {
			return slot
		}
	}
}

func (s *idSet) has(id uint64) bool {
	return s.count > 0 && s.slot(id).round == s.round
}

// add adds an id, which must not be in the set.
func (s *idSet) add(id uint64) {
	if 2*(s.count+1) > len(s.slots) {
		old := s.slots
		s.slots = make([]idSlot, max(64, 2*len(old)))
		for _, o := range old {
			if o.round == s.round {
				*s.slot(o.id) = o
			}
		}
	}
	*s.slot(id) = idSlot{id, s.round}
	s.count++
}
