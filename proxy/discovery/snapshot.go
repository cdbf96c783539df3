package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// ordered sorts targets by namespace, pod and port: the order of an answer. The
// later one of two with the same labels cannot be asked, since all its series would
// be duplicates.
func ordered(targets []*target.Target) []*target.Target {
	slices.SortFunc(targets, func(a, b *target.Target) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Pod, b.Pod), strings.Compare(a.ID, b.ID))
	})
	byLabels := make(map[string]*target.Target, len(targets))
	for i, t := range targets {
		key := fmt.Sprintf("%q", t.Labels)
		first, ok := byLabels[key]
		if !ok {
			byLabels[key] = t
			continue
		}
		refused := *t
		refused.Problem = &target.Problem{
			Reason: target.Identity,
			Err:    fmt.Errorf("pod %s in namespace %s has the same labels: TARGET_LABELS must tell them apart", first.Pod, first.Namespace),
		}
		targets[i] = &refused
	}
	return targets
}

// current returns the targets of pods, without those of a terminating pod whose address
// another pod has got already: the network gives it on before the API server forgets the
// pod.
func current(pods []*podTargets) []*target.Target {
	taken := map[string]bool{}
	for _, p := range pods {
		if !p.isTerminating() && p.address != "" {
			taken[p.address] = true
		}
	}
	all := []*target.Target{}
	for _, p := range pods {
		if !p.isTerminating() || !taken[p.address] {
			all = append(all, p.targets...)
		}
	}
	return all
}
