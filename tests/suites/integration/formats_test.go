package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// application returns the handler of a program instrumented with client_golang: a counter with
// an exemplar, a classic histogram and a native histogram.
func application() http.Handler {
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounter(prometheus.CounterOpts{Name: "requests_total", Help: `Requests, "all".`})
	classic := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "classic_seconds", Help: "Classic.", Buckets: []float64{0.1, 1, 10}})
	native := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "native_seconds", Help: "Native.", NativeHistogramBucketFactor: 1.1})
	registry.MustRegister(requests, classic, native)
	requests.(prometheus.ExemplarAdder).AddWithExemplar(3, prometheus.Labels{"trace_id": "abc"})
	for _, v := range []float64{0.05, 0.5, 5, 50} {
		classic.Observe(v)
		native.Observe(v)
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// TestPrometheusNegotiates scrapes pods that respond in different formats: three negotiate the
// format, one supports only text. Prometheus scrapes the proxy in four formats.
func TestPrometheusNegotiates(t *testing.T) {
	var pods []testbed.Pod
	for i := range 3 {
		pods = append(pods, pod(t, "formats", 7000+i, application()))
	}
	text := "# TYPE requests_total counter\nrequests_total 7\n# TYPE classic_seconds histogram\n" +
		"classic_seconds_bucket{le=\"1\"} 1\nclassic_seconds_bucket{le=\"+Inf\"} 2\nclassic_seconds_sum 3\nclassic_seconds_count 2\n"
	pods = append(pods, pod(t, "formats", 7003, exporter.Replay([]byte(text))))
	createPods(t, pods...)
	proxy := startProxy(t, "formats", nil)
	prometheus, err := shared.bed.StartPrometheus(t.Context(), testbed.PrometheusOptions{
		Args: []string{"--enable-feature=exemplar-storage"},
		Config: fmt.Sprintf(`
global: {scrape_interval: 3s, scrape_timeout: 3s}
scrape_configs:
- {job_name: default, static_configs: [{targets: [%[1]q]}]}
- {job_name: native, scrape_native_histograms: true, static_configs: [{targets: [%[1]q]}]}
- {job_name: nhcb, convert_classic_histograms_to_nhcb: true, static_configs: [{targets: [%[1]q]}]}
- {job_name: text, scrape_protocols: [PrometheusText0.0.4], static_configs: [{targets: [%[1]q]}]}
`, proxy.Address())})
	must(t, err)
	t.Cleanup(func() {
		if _, err := prometheus.Process.Stop(30 * time.Second); err != nil {
			t.Error(err)
		}
	})
	for _, job := range []string{"default", "native", "nhcb", "text"} {
		waitForUp(t, prometheus, job)
		wantValue(t, prometheus, fmt.Sprintf(`sum(requests_total{job=%q})`, job), 3*3+7)
		wantValue(t, prometheus, fmt.Sprintf(`sum(up{job=%q,k8s_pod_name!=""})`, job), 4)
	}
	for _, job := range []string{"default", "text"} {
		wantValue(t, prometheus, fmt.Sprintf(`sum(classic_seconds_bucket{job=%q,le="1.0"})`, job), 3*2+1)
		wantValue(t, prometheus, fmt.Sprintf(`sum(classic_seconds_count{job=%q})`, job), 3*4+2)
	}
	// Native histograms have the labels of their pods. Only protobuf supports them.
	wantValue(t, prometheus, `count(histogram_count(native_seconds{job="native",k8s_namespace="formats"}) == 4)`, 3)
	wantValue(t, prometheus, `histogram_count(sum(native_seconds{job="native"}))`, 12)
	// Prometheus converts exactly the classic histograms, and they are complete.
	wantValue(t, prometheus, `count(histogram_count(classic_seconds{job="nhcb"}))`, 4)
	wantValue(t, prometheus, `sum(histogram_count(classic_seconds{job="nhcb"}))`, 3*4+2)
	if n := exemplars(t, prometheus, `requests_total{job="default"}`); n != 3 {
		t.Errorf("Prometheus stores %d exemplars, want 3", n)
	}
	wantNothingRejected(t, prometheus)
	if strings.Contains(proxy.Log(), "conflict") {
		t.Errorf("the log reports conflicts:\n%s", proxy.Log())
	}
}

// exemplars returns the number of series that match the selector and have an exemplar in
// Prometheus.
func exemplars(t *testing.T, prometheus *testbed.Prometheus, selector string) int {
	t.Helper()
	_, body := get(t, fmt.Sprintf("%s/api/v1/query_exemplars?query=%s&start=0&end=%d", prometheus.URL, url.QueryEscape(selector), time.Now().Unix()+60), nil)
	var response struct {
		Data []struct {
			Exemplars []struct{ Labels map[string]string }
		}
	}
	must(t, json.Unmarshal([]byte(body), &response))
	n := 0
	for _, series := range response.Data {
		if len(series.Exemplars) > 0 && series.Exemplars[0].Labels["trace_id"] == "abc" {
			n++
		}
	}
	return n
}

// TestCompression checks that large responses are compressed if the client accepts it.
func TestCompression(t *testing.T) {
	createPods(t, pod(t, "gzip", 7100, exporter.Replay(shared.payload)))
	proxy := startProxy(t, "gzip", nil)
	_, plain := get(t, proxy.URL("/metrics"), nil)
	for _, coding := range []string{"gzip", "zstd"} {
		status, body := get(t, proxy.URL("/metrics"), map[string][]string{"Accept-Encoding": {coding}})
		if status != 200 || len(body) > len(plain)/3 {
			t.Errorf("%s: status %d, %d bytes of %d", coding, status, len(body), len(plain))
		}
	}
}

// TestFallbackScrapeProtocol checks that a target without a Content-Type is down, unless
// FALLBACK_SCRAPE_PROTOCOL is set to the format of its body.
func TestFallbackScrapeProtocol(t *testing.T) {
	p := pod(t, "fallback", 7200, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		fmt.Fprintln(w, "a 1")
	}))
	createPods(t, p)
	for fallback, want := range map[string]bool{"": false, "PrometheusText0.0.4": true, "OpenMetricsText1.0.0": false} {
		proxy := startProxy(t, "fallback", map[string]string{"FALLBACK_SCRAPE_PROTOCOL": fallback})
		_, response := get(t, proxy.URL("/metrics"), nil)
		if up := ups(response); up[p.Name] != want {
			t.Errorf("fallback %q: up is %v, want %v", fallback, up, want)
		}
	}
}
