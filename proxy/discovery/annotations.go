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

// The conventional annotations, from Prometheus's example configuration for Kubernetes.
const (
	scrapeAnnotation = "prometheus.io/scrape" // must be "true" for the pod to be scraped
	portAnnotation   = "prometheus.io/port"   // 80 if absent; one target for each port of a comma-separated list
	pathAnnotation   = "prometheus.io/path"   // /metrics if absent; may include a query string
	schemeAnnotation = "prometheus.io/scheme" // http (if absent) or https
)

// portLabel is the label that distinguishes the targets of one pod.
const portLabel = "k8s_port"

// maxPorts is the maximum number of ports, and therefore targets, of one pod.
const maxPorts = 32

// maxPath is the maximum length of a path with its query, in bytes, as annotated and as
// sent.
const maxPath = 2048

// Annotations returns the dialect of pods that match the selector and have the annotation
// prometheus.io/scrape: "true". The rules define the labels of each target.
func Annotations(selector string, rules []LabelRule) Dialect {
	needs := needsOf(rules)
	needs.annotations = append(needs.annotations, scrapeAnnotation, portAnnotation, pathAnnotation, schemeAnnotation)
	return Dialect{
		name: "annotations", selector: selector, needs: needs,
		targets: func(pod *corev1.Pod) []*target.Target { return annotatedTargets(pod, rules) },
	}
}

// annotatedTargets implements Dialect.targets for annotations. A malformed annotation
// results in a target with a Problem, so that it is reported as down.
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
	path := pod.Annotations[pathAnnotation]
	t := &target.Target{ID: port + path[:min(len(path), 200)], Labels: labels}
	if err = cmp.Or(err, labelErr); err == nil {
		t.URL, err = endpoint(pod, port)
	}
	if err != nil {
		t.Problem = &target.Problem{Reason: target.Annotation, Err: err}
	}
	return t
}

// portsOf returns the ports in the annotation, in canonical form and without duplicates.
func portsOf(pod *corev1.Pod) ([]string, error) {
	annotation := cmp.Or(pod.Annotations[portAnnotation], "80")
	malformed := fmt.Errorf("annotation %s is %s: expected comma-separated TCP ports, 1 to 65535, at most %d", portAnnotation, excerpt(annotation), maxPorts)
	if len(annotation) > maxValue || strings.Count(annotation, ",") >= maxPorts {
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

// endpoint returns the URL to scrape at one port of the pod.
func endpoint(pod *corev1.Pod, port string) (string, error) {
	annotation := pod.Annotations[schemeAnnotation]
	scheme := cmp.Or(strings.TrimSpace(annotation), "http")
	if len(annotation) > maxValue || scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("annotation %s is %s: expected http or https", schemeAnnotation, excerpt(annotation))
	}
	annotation = pod.Annotations[pathAnnotation]
	u, ok := pathOf(annotation)
	if !ok {
		return "", fmt.Errorf("annotation %s is %s: expected a path such as /metrics, optionally with a query string, of at most %d bytes", pathAnnotation, excerpt(annotation), maxPath)
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(pod.Status.PodIP, port)
	return u.String(), nil
}

// pathOf parses an annotated path. It escapes bytes that must not be part of a request line,
// or would end the query, as a browser does.
func pathOf(annotation string) (u *url.URL, ok bool) {
	if len(annotation) > maxPath {
		return nil, false
	}
	path := cmp.Or(strings.TrimSpace(annotation), "/metrics")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, false
	}
	u.RawQuery = escapeQuery(u.RawQuery)
	return u, len(u.RequestURI()) <= maxPath
}

// escapeQuery escapes blanks, control characters, bytes that are not ASCII, and #.
func escapeQuery(query string) string {
	var escaped strings.Builder
	for _, c := range []byte(query) {
		if c <= ' ' || c >= 0x7f || c == '#' {
			fmt.Fprintf(&escaped, "%%%02X", c)
		} else {
			escaped.WriteByte(c)
		}
	}
	return escaped.String()
}
