package discovery

import "github.com/canonical/metrics-k8s-proxy/proxy/target"

// current returns the targets of pods, except those of terminating pods whose address
// another pod already has: the network can reuse an address before the API server deletes
// the pod.
func current(pods []*podTargets) []*target.Target {
	holders := map[string]string{} // by address: the pod that is not terminating
	for _, p := range pods {
		if !p.isTerminating() && p.address != "" {
			holders[p.address] = p.pod()
		}
	}
	all := []*target.Target{}
	for _, p := range pods {
		// Another view may not know yet that the same pod is terminating.
		if holder, ok := holders[p.address]; !p.isTerminating() || !ok || holder == p.pod() {
			all = append(all, p.targets...)
		}
	}
	return all
}
