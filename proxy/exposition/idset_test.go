package exposition

import (
	"math/rand/v2"
	"testing"
)

func TestIDSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s idSet
	s.clear()
	for round := range 50 {
		want := map[uint64]bool{}
		for range rng.IntN(500) {
			id := rng.Uint64N(2000) << (10 * (round % 3)) // the low bits may all be equal
			if s.has(id) != want[id] {
				t.Fatalf("has(%d) is %v, want %v", id, s.has(id), want[id])
			}
			if !want[id] {
				s.add(id)
			}
			want[id] = true
		}
		if s.count != len(want) {
			t.Errorf("count is %d, want %d", s.count, len(want))
		}
		if round == 30 {
			s.round = ^uint32(0) - 2 // overflows soon
			s.slots = nil
		}
		s.clear()
	}
}
