package target

import (
	"cmp"
	"fmt"
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
	byLabels := make(map[string]*Target, len(targets))
	for i, t := range targets {
		key := labelSet(t.Labels)
		first, ok := byLabels[key]
		if !ok {
			byLabels[key] = t
			continue
		}
		refused := *t
		refused.Problem = &Problem{
			Reason: Identity,
			Err:    fmt.Errorf("pod %s in namespace %s has the same labels: TARGET_LABELS must distinguish them", first.Pod, first.Namespace),
		}
		targets[i] = &refused
	}
	return targets
}

// labelSet returns a key that is equal for equal label sets: the order does not matter, and a
// label with an empty value equals an absent one.
func labelSet(labels []Label) string {
	sorted := slices.DeleteFunc(slices.Clone(labels), func(l Label) bool { return l.Value == "" })
	slices.SortFunc(sorted, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	return fmt.Sprintf("%q", sorted)
}
