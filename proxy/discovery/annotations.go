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

// maxPorts bounds the targets of one pod.
const maxPorts = 32

// Annotations is the dialect of pods that the selector selects and that carry the
// annotation prometheus.io/scrape: "true". The rules make the labels of each target.
func Annotations(selector string, rules []LabelRule) Dialect {
	needs := needsOf(rules)
	needs.annotations = append(needs.annotations, scrapeAnnotation, portAnnotation, pathAnnotation, schemeAnnotation)
	return Dialect{
		name: "annotations", selector: selector, needs: needs,
		targets: func(pod *corev1.Pod) []*target.Target { return annotatedTargets(pod, rules) },
	}
}

// annotatedTargets is Dialect.targets for annotations. A malformed annotation makes a
// target with a Problem, so that it is reported as down.
func annotatedTargets(pod *corev1.Pod, rules []LabelRule) []*target.Target {
	if pod.Annotations[scrapeAnnotation] != "true" {
		return nil
	}
	ports, err := portsOf(pod)
	if err != nil {
		return []*target.Target{targetOf(pod, "", rules, false, err)}
	}
	var targets []*target.Target
	for _, port := range ports {
		targets = append(targets, targetOf(pod, port, rules, len(ports) > 1, nil))
	}
	return targets
}

func targetOf(pod *corev1.Pod, port string, rules []LabelRule, oneOfSeveral bool, err error) *target.Target {
	labels, labelErr := labelsOf(pod, port, rules, oneOfSeveral)
	t := &target.Target{ID: fmt.Sprintf("%s%.200s", port, pod.Annotations[pathAnnotation]), Labels: labels}
	var u *url.URL
	if err = cmp.Or(err, labelErr); err == nil {
		u, err = endpoint(pod, port)
	}
	if err != nil {
		t.Problem = &target.Problem{Reason: target.Annotation, Err: err}
	} else {
		t.URL = u.String()
	}
	return t
}

// portsOf are the ports that the annotation names, each once.
func portsOf(pod *corev1.Pod) ([]string, error) {
	annotation := cmp.Or(pod.Annotations[portAnnotation], "80")
	malformed := fmt.Errorf("annotation %s is %.80q: want TCP ports, 1 to 65535, separated by commas, %d at most", portAnnotation, annotation, maxPorts)
	if strings.Count(annotation, ",") >= maxPorts {
		return nil, malformed
	}
	var ports []string
	for port := range strings.SplitSeq(annotation, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(port), 10, 16)
		if err != nil || n == 0 {
			return nil, malformed
		}
		if port = strconv.FormatUint(n, 10); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// endpoint is what to ask for at one port of the pod.
func endpoint(pod *corev1.Pod, port string) (*url.URL, error) {
	scheme := cmp.Or(strings.TrimSpace(pod.Annotations[schemeAnnotation]), "http")
	if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("annotation %s is %.80q: want http or https", schemeAnnotation, scheme)
	}
	path := cmp.Or(strings.TrimSpace(pod.Annotations[pathAnnotation]), "/metrics")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, fmt.Errorf("annotation %s is %.80q: want a path such as /metrics, which may hold a query", pathAnnotation, pod.Annotations[pathAnnotation])
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(pod.Status.PodIP, port)
	return u, nil
}
