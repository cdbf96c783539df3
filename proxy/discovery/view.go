package discovery

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// view is what is known of the pods of one namespace, or of all. It is the store
// that a reflector fills.
type view struct {
	pods      *Pods
	namespace string // empty = all
	targets   map[types.UID][]*target.Target
	isSynced  bool  // a first list is complete
	err       error // of the last request to the API server; nil if it succeeded
}

func (v *view) String() string {
	if v.namespace == corev1.NamespaceAll {
		return "all namespaces"
	}
	return "namespace " + v.namespace
}

// Add, Update, Delete, Replace and Resync are what a reflector asks of a store.

// Add takes a new pod.
func (v *view) Add(obj any) error { return v.change("add", obj, false) }

// Update takes a changed pod.
func (v *view) Update(obj any) error { return v.change("update", obj, false) }

// Delete takes the last state of a pod that is gone.
func (v *view) Delete(obj any) error { return v.change("delete", obj, true) }

// Replace takes a complete list.
func (v *view) Replace(list []any, _ string) error {
	targets := make(map[types.UID][]*target.Target, len(list))
	for _, obj := range list {
		pod, err := podOf(obj)
		if err != nil {
			return err
		}
		if t := targetsOf(pod, v.pods.opts.Labels); len(t) > 0 {
			targets[pod.UID] = t
		}
	}
	v.pods.mu.Lock()
	defer v.pods.mu.Unlock()
	v.pods.snapshot = nil
	v.targets = targets
	if !v.isSynced {
		v.isSynced = true
		v.pods.opts.Logger.Info("first list of pods is complete", "pods_of", v.String(), "pods", len(list), "with_targets", len(v.targets))
	}
	return nil
}

// Resync does nothing: there is no other state to agree with.
func (v *view) Resync() error { return nil }

// change counts an event and takes what is new of its pod.
func (v *view) change(event string, obj any, isGone bool) error {
	pod, err := podOf(obj)
	if err != nil {
		return err
	}
	v.pods.metrics.events.WithLabelValues(event).Inc()
	var targets []*target.Target
	if !isGone {
		targets = targetsOf(pod, v.pods.opts.Labels)
	}
	v.pods.mu.Lock()
	defer v.pods.mu.Unlock()
	v.pods.snapshot = nil
	if len(targets) > 0 {
		v.targets[pod.UID] = targets
	} else {
		delete(v.targets, pod.UID)
	}
	return nil
}

func podOf(obj any) (*corev1.Pod, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("cannot use a %T: want a pod", obj)
	}
	return pod, nil
}
