package discovery

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/canonical/metrics-k8s-proxy/proxy/kubeapi"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// view is what is known of the pods that one dialect selects in one namespace, or in all.
// It is the store that a reflector fills.
type view struct {
	all       *Pods
	dialect   Dialect
	namespace string          // empty = all
	client    *kubeapi.Client // follow's own

	// Guarded by all.mu:
	pods        map[types.UID]*podTargets // that have targets
	isSynced    bool                      // a first list is complete
	isForbidden bool                      // the API server has refused a list
	err         error                     // why what is known may be out of date: the last failure, if no answer came after it
	logged      []string                  // failures that were logged since the pods were followed last
	isPolled    bool                      // the API server has refused a watch, but not a list
	isWatched   bool                      // a watch is open
	isCurrent   bool                      // and it has told all that there is
	currentAt   time.Time                 // when that was so last, if it is not so now
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
	pods := make(map[types.UID]*podTargets, len(list))
	for _, obj := range list {
		pod, err := podOf(obj)
		if err != nil {
			return err
		}
		if t := v.targetsOf(pod); t != nil {
			pods[pod.UID] = t
		}
	}
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	v.all.snapshot = nil
	v.pods = pods
	v.isCurrent, v.currentAt = v.isWatched, time.Now()
	v.err = nil
	if v.isWatched || v.isPolled { // else a watch is still to come
		v.followsAgain()
	}
	if !v.isSynced {
		v.isSynced = true
		time.AfterFunc(afterList, debug.FreeOSMemory) // a first list makes garbage as nothing later does
		v.all.opts.Logger.Info("first list of pods is complete", "pods_of", v.String(), "pods", len(list), "with_targets", len(v.pods))
	}
	return nil
}

// Transformer makes whole pods slim that the reflector collects before it calls Replace.
func (v *view) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		pod, err := podOf(obj)
		if err != nil {
			return nil, err
		}
		return v.slim(pod), nil
	}
}

// slim is what the view needs of a pod.
func (v *view) slim(pod *corev1.Pod) *corev1.Pod {
	slim := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, DeletionTimestamp: pod.DeletionTimestamp,
			Labels: map[string]string{}, Annotations: map[string]string{},
		},
		Spec:   corev1.PodSpec{NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork},
		Status: corev1.PodStatus{Phase: pod.Status.Phase, PodIP: pod.Status.PodIP},
	}
	keep := func(to, from map[string]string, key string) {
		if value, ok := from[key]; ok {
			to[key] = value
		}
	}
	needs := v.dialect.needs
	for _, key := range needs.annotations {
		keep(slim.Annotations, pod.Annotations, key)
	}
	for _, key := range needs.labels {
		keep(slim.Labels, pod.Labels, key)
	}
	if needs.containers {
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			slim.Spec.Containers = append(slim.Spec.Containers, corev1.Container{Name: c.Name, Ports: c.Ports})
		}
	}
	return slim
}

// opened takes note of a watch: of one that goes on where another one ended, or of one
// that begins with a list.
func (v *view) opened(w watch.Interface, goesOn bool) watch.Interface {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	v.isPolled, v.isWatched, v.isCurrent = false, true, goesOn
	if goesOn {
		v.err = nil
		v.followsAgain()
	}
	return &openWatch{w, v, time.Now()}
}

// openWatch is a watch of a view.
type openWatch struct {
	watch.Interface
	view     *view
	openedAt time.Time
}

// refusedWithin is how soon a watch ends that told nothing, since what it was to go on
// from is not known to the API server any more.
const refusedWithin = time.Second

// Stop ends the watch. The reflector calls it however the watch ends.
func (w *openWatch) Stop() {
	w.Interface.Stop()
	v := w.view
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	if now := time.Now(); v.isCurrent && now.Sub(w.openedAt) > refusedWithin {
		v.currentAt = now
	}
	v.isWatched, v.isCurrent = false, false
}

// staleness is for how long the view has not been known to be up to date.
func (v *view) staleness() time.Duration {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	if v.isCurrent {
		return 0
	}
	return time.Since(v.currentAt)
}

// afterList is how long after a list none of its pods is in use any more.
const afterList = 5 * time.Second

// Resync does nothing: there is no other state to agree with.
func (v *view) Resync() error { return nil }

// change counts an event and takes what is new of its pod.
func (v *view) change(event string, obj any, isGone bool) error {
	pod, err := podOf(obj)
	if err != nil {
		return err
	}
	v.all.metrics.events.WithLabelValues(event).Inc()
	var targets *podTargets
	if !isGone {
		targets = v.targetsOf(pod)
	}
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	v.all.snapshot = nil
	if targets != nil {
		v.pods[pod.UID] = targets
	} else {
		delete(v.pods, pod.UID)
	}
	return nil
}

// podTargets are the targets of one pod.
type podTargets struct {
	targets []*target.Target // one at least
	address string           // empty if other pods may have the same one: it is the node's
}

func (p *podTargets) isTerminating() bool { return p.targets[0].Terminating }

// targetsOf returns nil for a pod that is no target.
func (v *view) targetsOf(pod *corev1.Pod) *podTargets {
	targets := v.dialect.targetsOf(pod)
	if len(targets) == 0 {
		return nil
	}
	for _, t := range targets {
		t.Shard = shardOf(string(pod.UID), v.all.opts.ShardCount)
	}
	p := &podTargets{targets: targets}
	if !pod.Spec.HostNetwork {
		p.address = targets[0].Address
	}
	return p
}

func podOf(obj any) (*corev1.Pod, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("cannot use a %T: want a pod", obj)
	}
	return pod, nil
}
