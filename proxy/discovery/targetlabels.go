package discovery

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// LabelRule defines the source of one label of each target.
type LabelRule struct {
	Name   string
	Source string // pod, namespace, ip, node, uid, port, container, label or annotation
	Key    string // key of the label or annotation
}

// needsOf returns what the rules read from a pod.
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

// maxValue is the maximum length of an annotation, and of a label value, in bytes. A label
// value is repeated on every sample.
const maxValue = 1024

// labelsOf returns the labels of the target at one port of the pod. If the pod has several
// targets, k8s_port distinguishes them; otherwise that label is empty. It is omitted if a
// rule maps the port or has its name. The error reports an invalid label value, which is
// replaced by an empty one.
func labelsOf(pod *corev1.Pod, port string, rules []LabelRule, oneOfSeveral bool) (labels []target.Label, err error) {
	for _, r := range rules {
		value := r.value(pod, port)
		if len(value) > maxValue || !utf8.ValidString(value) {
			err = fmt.Errorf("%s is %s: expected valid UTF-8 of at most %d bytes for the label %s", strings.TrimSpace(r.Source+" "+r.Key), excerpt(value), maxValue, r.Name)
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

// containerOf returns the name of the container that declares the port, or an empty string.
// It includes init containers, because they can be sidecars.
func containerOf(pod *corev1.Pod, port string) string {
	n, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return ""
	}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		for _, p := range c.Ports {
			if p.ContainerPort == int32(n) {
				return c.Name
			}
		}
	}
	return ""
}
