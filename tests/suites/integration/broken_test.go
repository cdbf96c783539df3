package integration

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// reasons maps each of exporter.Broken, and a pod without a listener, to the expected reason.
var reasons = map[string]string{
	"hang": "timeout", "stall": "timeout", "drip": "timeout",
	"reset": "incomplete", "reset-in-body": "incomplete", "truncated": "incomplete", "truncated-chunked": "incomplete",
	"status-500": "status", "redirect": "status",
	"html": "content_type", "blank-content-type": "content_type", "garbage": "parse",
	"zip-bomb": "too_large", "endless": "too_large",
	"refused": "connect",
}

// TestBrokenPods checks that broken pods do not affect the samples of other pods or delay the
// response beyond the deadline, and that up, the log and the metrics report each failure.
func TestBrokenPods(t *testing.T) {
	var all []testbed.Pod
	for i, broken := range exporter.Broken() {
		p := pod(t, "broken", 2000+i, broken.Handler)
		p.Name = broken.Name
		all = append(all, p)
	}
	empty := pod(t, "broken", 2100, exporter.Empty())
	empty.Name = "empty"
	refused := pod(t, "broken", 2101, exporter.Empty())
	refused.Name = "refused"
	refused.Annotations = testbed.ScrapeAnnotations(freePortAt(t, refused.IPs[0]), "")
	healthy := []testbed.Pod{
		pod(t, "broken", 2200, exporter.Replay(shared.payload)),
		pod(t, "broken", 2201, exporter.Replay(shared.payload)),
	}
	createPods(t, append(append(all, empty, refused), healthy...)...)
	proxy := startProxy(t, "broken", map[string]string{"SCRAPE_TIMEOUT": "5s", "BODY_SIZE_LIMIT": "8MiB"})
	prometheus := startPrometheus(t, fmt.Sprintf(`
scrape_configs:
- {job_name: broken, scrape_interval: 5s, scrape_timeout: 5s, static_configs: [{targets: [%q]}]}
`, proxy.Address()))
	waitForUp(t, prometheus, "broken")

	status, response := get(t, proxy.URL("/metrics"), map[string][]string{"X-Prometheus-Scrape-Timeout-Seconds": {"3"}})
	if status != 200 {
		t.Fatalf("status %d: %s", status, response)
	}
	up := ups(response)
	samples := len(seriesOf(t, shared.payload)) // including up
	for _, p := range healthy {
		if n := countSamples(response, p.Name); !up[p.Name] || n != samples {
			t.Errorf("healthy pod %s: up %v, %d samples, want %d", p.Name, up[p.Name], n, samples)
		}
	}
	if !up["empty"] {
		t.Error("a pod with an empty body is down")
	}
	log := proxy.Log()
	for name, reason := range reasons {
		if value, ok := up[name]; !ok || value {
			t.Errorf("pod %s: up is %v (exposed: %v), want 0", name, value, ok)
		}
		if n := countSamples(response, name); n != 1 {
			t.Errorf("pod %s: %d samples, want only up", name, n)
		}
		line := logLine(log, "pod="+name+" ")
		if !strings.Contains(line, "reason="+reason+" ") || !strings.Contains(line, "err=") {
			t.Errorf("pod %s: the log line is %q, want reason %s", name, line, reason)
		}
	}
	if len(reasons) != len(exporter.Broken())+1 {
		t.Errorf("%d reasons for %d broken pods", len(reasons), len(exporter.Broken())+1)
	}
	own, err := proxy.OwnMetrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range reasons {
		zero := fmt.Sprintf("metrics_proxy_target_scrapes_total{reason=%q} 0\n", reason)
		if !strings.Contains(string(own), fmt.Sprintf("{reason=%q} ", reason)) || strings.Contains(string(own), zero) {
			t.Errorf("the own metrics do not count reason %s", reason)
		}
	}
}

func countSamples(response, pod string) int {
	return strings.Count(response, fmt.Sprintf("{k8s_pod_name=%q,", pod))
}

func logLine(log, part string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// freePortAt returns a port of the address on which nothing listens.
func freePortAt(t *testing.T, host string) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	n, _ := strconv.Atoi(port)
	return n
}
