package discovery

import "github.com/canonical/metrics-k8s-proxy/proxy/target"

// current returns the targets of pods, except those of terminating pods whose address
// another pod already has: the network can reuse an address before the API server deletes
// the pod.
func current(pods []*podTargets) []*target.Target {
	inUse := map[string]bool{}
	for _, p := range pods {
		if !p.isTerminating() && p.address != "" {
			inUse[p.address] = true
		}
	}
	all := []*target.Target{}
	for _, p := range pods {
		if !p.isTerminating() || !inUse[p.address] {
			all = append(all, p.targets...)
		}
	}
	return all
}
