package discovery

import "github.com/canonical/metrics-k8s-proxy/proxy/target"

// current returns the targets of pods, without those of a terminating pod whose address
// another pod has already: the network reuses an address before the API server forgets
// the pod.
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
