package discovery

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// LabelRule says where the value of one label of each target comes from.
type LabelRule struct {
	Name   string
	Source string // pod, namespace, ip, node, uid, port, container, label or annotation
	Key    string // of the label or annotation
}

// needsOf is what the rules read of a pod.
func needsOf(rules []LabelRule) needs {
	var n needs
	for _, r := range rules {
		switch r.Source {
		case "label":
			n.labels = append(n.labels, r.Key)
		case "annotation":
			n.annotations = append(n.annotations, r.Key)
		case "container":
			n.containers = true
		}
	}
	return n
}

// maxLabelValue bounds the value of a label, in bytes: it is on every sample.
const maxLabelValue = 1024

// labelsOf are the labels of the target at one port of the pod. One of several
// targets of a pod is told apart by k8s_port, unless a rule maps the port; elsewhere
// that label is empty. The error is of a value that no label can have, which is left
// out.
func labelsOf(pod *corev1.Pod, port string, rules []LabelRule, oneOfSeveral bool) (labels []target.Label, err error) {
	for _, r := range rules {
		value := r.value(pod, port)
		if len(value) > maxLabelValue || !utf8.ValidString(value) {
			err = fmt.Errorf("annotation %s is %.80q, %d bytes: want valid UTF-8, %d bytes at most, for the label %s", r.Key, value, len(value), maxLabelValue, r.Name)
			value = ""
		}
		labels = append(labels, target.Label{Name: r.Name, Value: value})
	}
	if slices.ContainsFunc(rules, func(r LabelRule) bool { return r.Source == "port" || r.Name == portLabel }) {
		return labels, err
	}
	if !oneOfSeveral {
		port = ""
	}
	return append(labels, target.Label{Name: portLabel, Value: port}), err
}

func (r LabelRule) value(pod *corev1.Pod, port string) string {
	switch r.Source {
	case "pod":
		return pod.Name
	case "namespace":
		return pod.Namespace
	case "ip":
		return pod.Status.PodIP
	case "node":
		return pod.Spec.NodeName
	case "uid":
		return string(pod.UID)
	case "port":
		return port
	case "container":
		return containerOf(pod, port)
	case "label":
		return pod.Labels[r.Key]
	case "annotation":
		return pod.Annotations[r.Key]
	}
	return ""
}

// containerOf is the name of the container that declares the port, or empty. An
// init container can be a sidecar, and declare it.
func containerOf(pod *corev1.Pod, port string) string {
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		for _, p := range c.Ports {
			if strconv.Itoa(int(p.ContainerPort)) == port {
				return c.Name
			}
		}
	}
	return ""
}
