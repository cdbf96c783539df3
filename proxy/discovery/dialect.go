package discovery

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// Dialect is one way in which pods declare that they are to be scraped, and how. Each
// dialect watches the pods that match its own selector. A pod that matches the selectors of
// two dialects has the targets of both.
type Dialect struct {
	name     string // prefix of the ID of each target
	selector string // a Kubernetes label selector
	needs    needs

	// targets returns the targets that a pod declares, or none. It sets ID (unique within
	// the pod), Labels, and either URL or Problem; targetsOf sets the other fields. The
	// result depends only on the common fields of the pod and on those listed in needs.
	targets func(*corev1.Pod) []*target.Target
}

// needs lists what a dialect reads from a pod besides the common fields: name, namespace,
// UID, node, phase and address. All other fields of a pod are discarded.
type needs struct {
	labels, annotations []string // keys
	containers          bool     // their names and ports
}

// targetsOf returns the targets of a pod: none if it has no IP address, or has succeeded or
// failed.
func (d Dialect) targetsOf(pod *corev1.Pod) []*target.Target {
	if pod.Status.PodIP == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	targets := d.targets(pod)
	for _, t := range targets {
		t.ID = fmt.Sprintf("%s/%s:%s", d.name, pod.UID, t.ID)
		t.Namespace, t.Pod = pod.Namespace, pod.Name
		t.Address, t.Owner = pod.Status.PodIP, string(pod.UID)
		t.Terminating = pod.DeletionTimestamp != nil
	}
	return targets
}
