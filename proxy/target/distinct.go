package target

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// Distinct sorts targets in place by namespace, pod and ID, which is their order in the
// merged exposition, and returns them. If two targets have the same labels, the later one
// is replaced by a copy with a Problem, because all its series would be duplicates.
func Distinct(targets []*Target) []*Target {
	slices.SortFunc(targets, func(a, b *Target) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Pod, b.Pod), strings.Compare(a.ID, b.ID))
	})
	byLabels := make(map[uint64][]*Target, len(targets)) // by hash
	seed := maphash.MakeSeed()
	for i, t := range targets {
		hash := hashOf(t.Labels, seed)
		same := slices.IndexFunc(byLabels[hash], func(other *Target) bool { return isSameSet(other.Labels, t.Labels) })
		if same < 0 {
			byLabels[hash] = append(byLabels[hash], t)
			continue
		}
		first, refused := byLabels[hash][same], *t
		refused.Problem = &Problem{
			Reason: Identity,
			Err:    fmt.Errorf("pod %s in namespace %s has the same labels: TARGET_LABELS must distinguish them", first.Pod, first.Namespace),
		}
		targets[i] = &refused
	}
	return targets
}

// hashOf returns the same hash for the same label set: the order does not matter, and a label
// with an empty value equals an absent one. It copies no label, because values may be long.
func hashOf(labels []Label, seed maphash.Seed) uint64 {
	sum := uint64(0)
	for _, l := range labels {
		if l.Value != "" {
			sum += maphash.Comparable(seed, l)
		}
	}
	return sum
}

// isSameSet reports whether two label sets are the same. The names in each are distinct.
func isSameSet(a, b []Label) bool {
	isIn := func(labels []Label) func(Label) bool {
		return func(l Label) bool { return l.Value == "" || slices.Contains(labels, l) }
	}
	return all(a, isIn(b)) && all(b, isIn(a))
}

func all(labels []Label, ok func(Label) bool) bool {
	return !slices.ContainsFunc(labels, func(l Label) bool { return !ok(l) })
}
