package discovery

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// The annotations that Prometheus's own example configuration for Kubernetes made
// customary.
const (
	scrapeAnnotation = "prometheus.io/scrape" // "true", or the pod is no target
	portAnnotation   = "prometheus.io/port"   // 80 if absent; a comma list means several targets
	pathAnnotation   = "prometheus.io/path"   // /metrics if absent; may hold a query
	schemeAnnotation = "prometheus.io/scheme" // http (if absent) or https
)

// portLabel tells the targets of one pod apart.
const portLabel = "k8s_port"

// targetsOf returns the targets of a pod: none unless its annotations ask for it,
// it has an address and it has not ended. A malformed annotation makes a target
// that cannot be asked, so that it is seen.
func targetsOf(pod *corev1.Pod, rules []LabelRule) []*target.Target {
	if pod.Annotations[scrapeAnnotation] != "true" || pod.Status.PodIP == "" ||
		pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	ports := portsOf(pod)
	var targets []*target.Target
	for _, port := range ports {
		u, err := endpoint(pod, port)
		t := &target.Target{
			ID:          fmt.Sprintf("%s:%s%s", pod.UID, port, pod.Annotations[pathAnnotation]),
			Namespace:   pod.Namespace,
			Pod:         pod.Name,
			Labels:      labelsOf(pod, port, rules, len(ports) > 1),
			Terminating: pod.DeletionTimestamp != nil,
		}
		if err != nil {
			t.Problem = &target.Problem{Reason: target.Annotation, Err: err}
		} else {
			t.URL = u.String()
		}
		targets = append(targets, t)
	}
	return targets
}

// portsOf are the ports as the annotation has them, each once. They are not checked.
func portsOf(pod *corev1.Pod) []string {
	var ports []string
	for port := range strings.SplitSeq(cmp.Or(pod.Annotations[portAnnotation], "80"), ",") {
		if port = strings.TrimSpace(port); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// endpoint is what to ask for at one port of the pod.
func endpoint(pod *corev1.Pod, port string) (*url.URL, error) {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("annotation %s is %q: want TCP ports, 1 to 65535, separated by commas", portAnnotation, pod.Annotations[portAnnotation])
	}
	scheme := cmp.Or(pod.Annotations[schemeAnnotation], "http")
	if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("annotation %s is %q: want http or https", schemeAnnotation, scheme)
	}
	path := cmp.Or(pod.Annotations[pathAnnotation], "/metrics")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, fmt.Errorf("annotation %s is %q: want a path such as /metrics, which may hold a query", pathAnnotation, pod.Annotations[pathAnnotation])
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(pod.Status.PodIP, port)
	return u, nil
}
