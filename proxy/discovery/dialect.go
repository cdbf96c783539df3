package discovery

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// Dialect is one way for a pod to declare that it is to be scraped, and how. Each dialect
// watches the pods that its own selector selects. A pod that two dialects select has
// targets of both.
type Dialect struct {
	name     string // starts the ID of each target
	selector string // a Kubernetes label selector
	needs    needs

	// targets returns the targets that a pod declares, or none. It sets ID (unique within
	// the pod), Labels, and either URL or Problem; targetsOf sets the rest. It is a pure
	// function of the pod's common fields and of what needs names.
	targets func(*corev1.Pod) []*target.Target
}

// needs is what a dialect reads of a pod besides the common fields: name, namespace,
// UID, node, phase and addresses. Nothing else of a pod is kept.
type needs struct {
	labels, annotations []string // keys
	containers          bool     // their names and ports
}

// targetsOf returns the targets of a pod: none if it has no address or has ended.
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
