package main

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// ups maps namespace/name of a pod to the value of its up.
type ups map[string]float64

// upsOf reads ups from a query result of Prometheus. Samples of the same pod overwrite each
// other.
func upsOf(samples []testbed.Sample) ups {
	values := ups{}
	for _, sample := range samples {
		values[sample.Labels["k8s_namespace"]+"/"+sample.Labels["k8s_pod_name"]] = sample.Value
	}
	return values
}

// upsIn reads ups from an exposition. It does not unescape label values, because names of
// pods contain neither quotes nor backslashes.
func upsIn(body string) ups {
	values := ups{}
	label := regexp.MustCompile(`[{,]\s*(\w+)="([^"]*)"`)
	for _, line := range family(body, "up") {
		labels := map[string]string{}
		for _, match := range label.FindAllStringSubmatch(line, -1) {
			labels[match[1]] = match[2]
		}
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err == nil && labels["k8s_pod_name"] != "" {
			values[labels["k8s_namespace"]+"/"+labels["k8s_pod_name"]] = value
		}
	}
	return values
}

// family returns the lines of a family, comments and samples. The samples must have the name
// of the family.
func family(body, name string) []string {
	var lines []string
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, name)
		isSample := ok && (strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, " "))
		if isSample || strings.HasPrefix(line, "# HELP "+name+" ") || strings.HasPrefix(line, "# TYPE "+name+" ") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return lines
}
