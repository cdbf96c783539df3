package discovery

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/canonical/metrics-k8s-proxy/proxy/kubeapi"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// view holds the targets of the pods that match the selector of one dialect, in one
// namespace or in all. It is the store of a reflector.
type view struct {
	all       *Pods
	dialect   Dialect
	namespace string          // empty = all
	client    *kubeapi.Client // used by run only
	page      int64           // pods in the next page of a list; used by run only

	apiServer []netip.AddrPort // addresses of the API server; used by run only

	// Guarded by all.mu:
	pods        map[types.UID]*podTargets // pods that have targets
	isSynced    bool                      // the first list is complete
	isForbidden bool                      // the API server has refused a list
	err         error                     // why the targets may be out of date: the last failure since the last success
	hasFailed   bool                      // the last request failed, and no client has been created since
	logged      []string                  // failures that were logged since the last recovery, without digits
	isPolled    bool                      // the API server has refused a watch, but not a list
	isWatched   bool                      // a watch is open
	isCurrent   bool                      // the watch is open and its initial state is complete
	currentAt   time.Time                 // when isCurrent was last true, or the time of the last list or of the start
}

func (v *view) String() string {
	if v.namespace == corev1.NamespaceAll {
		return "all namespaces"
	}
	return "namespace " + v.namespace
}

// Add, Update, Delete, Replace and Resync implement cache.ReflectorStore.

// Add stores a new pod.
func (v *view) Add(obj any) error { return v.change("add", obj, false) }

// Update stores a changed pod.
func (v *view) Update(obj any) error { return v.change("update", obj, false) }

// Delete removes a pod. obj is its last state.
func (v *view) Delete(obj any) error { return v.change("delete", obj, true) }

// Replace replaces all pods by a complete list. If an object is not a pod, it returns an error
// and changes nothing.
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
	if v.isWatched || v.isPolled { // otherwise a watch has yet to start
		v.recovered()
	}
	if !v.isSynced {
		v.isSynced = true
		time.AfterFunc(afterList, debug.FreeOSMemory) // the first list produces more garbage than anything later
		v.all.opts.Logger.Info("first list of pods is complete", "pods_of", v.String(), "pods", len(list), "with_targets", len(v.pods))
	}
	return nil
}

// Transformer returns a function that slims the pods that the reflector collects before it
// calls Replace.
func (v *view) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		pod, err := podOf(obj)
		if err != nil {
			return nil, err
		}
		return v.slim(pod), nil
	}
}

// maxContainerPorts is the maximum number of container ports of a pod that are considered.
const maxContainerPorts = 1000

// slim returns a copy of a pod with only the fields that the view needs. Longer values than a
// dialect permits are truncated to one byte more than that, so that they are still refused.
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
			to[key] = strings.Clone(value[:min(len(value), maxPath+1)])
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
		slim.Spec.Containers = slimContainers(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers))
	}
	return slim
}

// slimContainers returns the containers that declare ports, with only their names and port
// numbers.
func slimContainers(containers []corev1.Container) []corev1.Container {
	var slim []corev1.Container
	left := maxContainerPorts
	for _, c := range containers {
		var ports []corev1.ContainerPort
		for _, p := range c.Ports[:min(len(c.Ports), left)] {
			ports = append(ports, corev1.ContainerPort{ContainerPort: p.ContainerPort})
		}
		if left -= len(ports); len(ports) > 0 {
			slim = append(slim, corev1.Container{Name: c.Name, Ports: ports})
		}
	}
	return slim
}

// watchOpened records that a watch is open, and wraps it. The watch either resumes where
// a list or a watch ended, or starts with a list.
func (v *view) watchOpened(w watch.Interface, resumes bool) watch.Interface {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	v.isPolled, v.isWatched, v.isCurrent = false, true, resumes
	if resumes {
		v.err = nil
		v.recovered()
	}
	return &openWatch{w, v, time.Now()}
}

// openWatch is an open watch of a view.
type openWatch struct {
	watch.Interface
	view     *view
	openedAt time.Time
}

// expiredWithin is the time within which a watch ends, without events, if its resource
// version has expired on the API server.
const expiredWithin = time.Second

// Stop ends the watch. The reflector calls it whenever a watch ends, for any reason.
func (w *openWatch) Stop() {
	w.Interface.Stop()
	v := w.view
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	if now := time.Now(); v.isCurrent && now.Sub(w.openedAt) > expiredWithin {
		v.currentAt = now
	}
	v.isWatched, v.isCurrent = false, false
}

// staleness returns for how long the view may have been out of date, or 0.
func (v *view) staleness() time.Duration {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	if v.isCurrent {
		return 0
	}
	return time.Since(v.currentAt)
}

// afterList is the delay after a list until none of its pods is in use.
const afterList = 5 * time.Second

// Resync does nothing, because there is no other state to synchronize.
func (v *view) Resync() error { return nil }

// change counts an event and updates the targets of its pod.
func (v *view) change(event string, obj any, isGone bool) error {
	pod, err := podOf(obj)
	if err != nil {
		return err
	}
	v.all.metrics.events.WithLabelValues(event).Inc()
	var targets *podTargets
	if !isGone {
		targets = v.targetsOf(v.slim(pod))
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
	address string           // empty if it is the address of the node, which other pods may share
}

func (p *podTargets) isTerminating() bool { return p.targets[0].Terminating }

// pod returns the UID of the pod.
func (p *podTargets) pod() string { return p.targets[0].Owner }

// targetsOf returns nil for a pod without targets.
func (v *view) targetsOf(pod *corev1.Pod) *podTargets {
	targets := v.dialect.targetsOf(pod)
	if len(targets) == 0 {
		return nil
	}
	for _, t := range targets {
		v.refuseReserved(t)
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
		return nil, fmt.Errorf("cannot use a %T: expected a pod", obj)
	}
	return pod, nil
}
