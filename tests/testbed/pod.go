package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A Pod specifies a pod. Other fields get default values.
type Pod struct {
	Namespace, Name     string
	Labels, Annotations map[string]string
	NodeName            string
	Containers          []corev1.Container // empty means one container, "main"
	InitContainers      []corev1.Container
	HostNetwork         bool

	// The status. The first address is also podIP. Without addresses and phase, the pod
	// keeps the status that the API server sets: Pending.
	IPs   []string
	Phase corev1.PodPhase // empty means Running if there are addresses
}

// ScrapeAnnotations returns the annotations of a pod to scrape. It omits the annotation of a
// port that is 0 and of a path that is empty.
func ScrapeAnnotations(port int, path string) map[string]string {
	annotations := map[string]string{"prometheus.io/scrape": "true"}
	if port != 0 {
		annotations["prometheus.io/port"] = strconv.Itoa(port)
	}
	if path != "" {
		annotations["prometheus.io/path"] = path
	}
	return annotations
}

// CreateNamespaces creates the namespaces that do not exist.
func (c *Cluster) CreateNamespaces(ctx context.Context, names ...string) error {
	for _, name := range names {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := c.Client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create namespace %s: %w", name, err)
		}
	}
	return nil
}

// CreatePods creates the pods concurrently, sets their status, and creates their namespaces
// if necessary. After an error some of the pods may exist.
func (c *Cluster) CreatePods(ctx context.Context, pods ...Pod) error {
	namespaces := map[string]bool{}
	for _, pod := range pods {
		namespaces[pod.Namespace] = true
	}
	if err := c.CreateNamespaces(ctx, slices.Collect(maps.Keys(namespaces))...); err != nil {
		return err
	}
	const atOnce = 32
	errs := make([]error, len(pods))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, pod := range pods {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = c.createPod(ctx, pod)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) createPod(ctx context.Context, pod Pod) error {
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{{Name: "main", Image: "none"}}
	}
	_, err := c.Client.CoreV1().Pods(pod.Namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, Annotations: pod.Annotations,
		},
		Spec: corev1.PodSpec{
			NodeName: pod.NodeName, Containers: pod.Containers, InitContainers: pod.InitContainers, HostNetwork: pod.HostNetwork,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("cannot create pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if pod.Phase == "" && len(pod.IPs) == 0 {
		return nil
	}
	if pod.Phase == "" {
		pod.Phase = corev1.PodRunning
	}
	return c.SetPodStatus(ctx, pod.Namespace, pod.Name, pod.Phase, pod.IPs...)
}

// SetPodStatus updates the status as a kubelet does. It sets the phase and replaces all
// addresses. The pod is ready if its phase is Running.
func (c *Cluster) SetPodStatus(ctx context.Context, namespace, name string, phase corev1.PodPhase, ips ...string) error {
	ready := corev1.ConditionFalse
	if phase == corev1.PodRunning {
		ready = corev1.ConditionTrue
	}
	status := map[string]any{
		"phase":      phase,
		"podIP":      nil, // remove the address
		"podIPs":     nil,
		"conditions": []map[string]any{{"type": corev1.PodReady, "status": ready}},
	}
	if len(ips) > 0 {
		podIPs := make([]corev1.PodIP, len(ips))
		for i, ip := range ips {
			podIPs[i].IP = ip
		}
		status["podIP"], status["podIPs"] = ips[0], podIPs
	}
	err := c.patchPod(ctx, namespace, name, types.MergePatchType, map[string]any{"status": status}, "status")
	if err != nil {
		return fmt.Errorf("cannot set the status of pod %s/%s: %w", namespace, name, err)
	}
	return nil
}

// SetPodAnnotations replaces all annotations of the pod.
func (c *Cluster) SetPodAnnotations(ctx context.Context, namespace, name string, annotations map[string]string) error {
	patch := []map[string]any{{"op": "add", "path": "/metadata/annotations", "value": annotations}}
	if err := c.patchPod(ctx, namespace, name, types.JSONPatchType, patch); err != nil {
		return fmt.Errorf("cannot set the annotations of pod %s/%s: %w", namespace, name, err)
	}
	return nil
}

func (c *Cluster) patchPod(ctx context.Context, namespace, name string, kind types.PatchType, patch any, subresources ...string) error {
	content, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = c.Client.CoreV1().Pods(namespace).Patch(ctx, name, kind, content, metav1.PatchOptions{}, subresources...)
	return err
}

// DeletePod deletes the pod without a grace period. Do not reuse its name immediately.
func (c *Cluster) DeletePod(ctx context.Context, namespace, name string) error {
	return c.deletePod(ctx, namespace, name, 0)
}

// TerminatePod deletes the pod with a grace period. Because there is no kubelet, the pod is
// terminating until DeletePod. The API server immediately removes a pod without a NodeName,
// and a pod whose phase is Succeeded or Failed.
func (c *Cluster) TerminatePod(ctx context.Context, namespace, name string) error {
	return c.deletePod(ctx, namespace, name, 30)
}

func (c *Cluster) deletePod(ctx context.Context, namespace, name string, graceSeconds int64) error {
	options := metav1.DeleteOptions{GracePeriodSeconds: &graceSeconds}
	if err := c.Client.CoreV1().Pods(namespace).Delete(ctx, name, options); err != nil {
		return fmt.Errorf("cannot delete pod %s/%s: %w", namespace, name, err)
	}
	return nil
}
