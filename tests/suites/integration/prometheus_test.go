package integration

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// TestPrometheusStoresEverySeries checks that a real Prometheus with default settings, with
// honor_labels true and false, stores every series of 100 pods exactly once. The pods
// respond with the body of a real node exporter.
func TestPrometheusStoresEverySeries(t *testing.T) {
	const pods = 100
	var all []testbed.Pod
	for i := range pods {
		all = append(all, pod(t, "hundred", i, exporter.Replay(shared.payload)))
	}
	createPods(t, all...)
	proxy := startProxy(t, "hundred", nil)
	_, response := get(t, proxy.URL("/metrics"), nil)
	wantFamiliesOnce(t, response, "hundred")
	prometheus := startPrometheus(t, fmt.Sprintf(`
scrape_configs:
- {job_name: plain, scrape_interval: 3s, scrape_timeout: 3s, static_configs: [{targets: [%[1]q]}]}
- {job_name: honor, scrape_interval: 3s, scrape_timeout: 3s, honor_labels: true, static_configs: [{targets: [%[1]q]}]}
`, proxy.Address()))

	want := seriesOf(t, shared.payload)
	for _, job := range []string{"plain", "honor"} {
		waitForUp(t, prometheus, job)
		samples, err := prometheus.Query(t.Context(), fmt.Sprintf(`{job=%q,k8s_pod_name!=""}`, job))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for _, s := range samples {
			pod := s.Labels["k8s_pod_name"]
			if s.Labels["k8s_namespace"] != "hundred" {
				t.Fatalf("wrong namespace: %v", s.Labels)
			}
			for _, l := range []string{"job", "instance", "k8s_pod_name", "k8s_namespace"} {
				delete(s.Labels, l)
			}
			got[pod] = append(got[pod], signature(s.Labels))
		}
		if len(got) != pods {
			t.Fatalf("job %s: series of %d pods, want %d", job, len(got), pods)
		}
		for pod, series := range got {
			slices.Sort(series)
			if !slices.Equal(series, want) {
				t.Fatalf("job %s, pod %s: %d series, want %d; first difference: %s", job, pod, len(series), len(want), firstDifference(series, want))
			}
		}
	}
	wantNothingRejected(t, prometheus)
}

// wantFamiliesOnce checks that each family has one TYPE, and that every sample has the labels of
// a pod of the namespace.
func wantFamiliesOnce(t *testing.T, response, namespace string) {
	t.Helper()
	types, ofPod := map[string]int{}, regexp.MustCompile(fmt.Sprintf(`^\w+\{k8s_pod_name="%s-\d+",k8s_namespace=%[1]q[,}]`, namespace))
	for line := range strings.Lines(response) {
		if family, ok := strings.CutPrefix(line, "# TYPE "); ok {
			family, _, _ = strings.Cut(family, " ")
			types[family]++
		} else if !strings.HasPrefix(line, "#") && !ofPod.MatchString(line) {
			t.Errorf("sample without the labels of a pod: %s", line)
		}
	}
	for family, n := range types {
		if n != 1 {
			t.Errorf("family %s has %d TYPE lines", family, n)
		}
	}
	if len(types) <= 50 {
		t.Errorf("%d families, want more than 50", len(types))
	}
}

// seriesOf returns the series of an exposition, and up. It uses the parser of the expfmt
// package, which neither the proxy nor Prometheus uses.
func seriesOf(t *testing.T, payload []byte) []string {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	series := []string{signature(map[string]string{"__name__": "up"})}
	samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, slices.Collect(maps.Values(families))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		labels := map[string]string{}
		for name, value := range s.Metric {
			labels[string(name)] = string(value)
		}
		for _, l := range []string{"le", "quantile"} {
			if v := labels[l]; v != "" && !strings.ContainsAny(v, ".eI") {
				labels[l] = v + ".0" // the form that Prometheus 3 stores
			}
		}
		series = append(series, signature(labels))
	}
	slices.Sort(series)
	return series
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("got %s, want %s", got[i], want[i])
		}
	}
	return "one has more"
}

func signature(labels map[string]string) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if labels[name] != "" { // an empty label is equivalent to no label
			names = append(names, fmt.Sprintf("%s=%q", name, labels[name]))
		}
	}
	return strings.Join(names, ",")
}

// TestLargeBodiesAndHangingPod checks that Prometheus, with a timeout of 10 s, gets the complete
// response of 100 pods with bodies of 2 MB, one of which hangs.
func TestLargeBodiesAndHangingPod(t *testing.T) {
	const pods, lines = 100, 2000
	var body bytes.Buffer
	body.WriteString("# TYPE large gauge\n")
	for i := range lines {
		fmt.Fprintf(&body, "large{i=\"%d\",filler=%q} %d\n", i, strings.Repeat("x", 1000), i)
	}
	var all []testbed.Pod
	for i := range pods - 1 {
		all = append(all, pod(t, "large", 1000+i, exporter.Replay(body.Bytes())))
	}
	all = append(all, pod(t, "large", 1000+pods, exporter.Hang()))
	createPods(t, all...)
	proxy := startProxy(t, "large", nil)
	prometheus := startPrometheus(t, fmt.Sprintf(`
scrape_configs:
- {job_name: large, scrape_interval: 11s, scrape_timeout: 10s, static_configs: [{targets: [%q]}]}
`, proxy.Address()))
	waitForUp(t, prometheus, "large")
	wantValue(t, prometheus, `scrape_samples_scraped{job="large"}`, (pods-1)*lines+pods)
	wantValue(t, prometheus, `sum(up{k8s_pod_name!=""})`, pods-1)
	wantValue(t, prometheus, `count(up{k8s_pod_name!=""} == 0)`, 1)
	wantNothingRejected(t, prometheus)
}

func startPrometheus(t *testing.T, config string) *testbed.Prometheus {
	t.Helper()
	prometheus, err := shared.bed.StartPrometheus(t.Context(), testbed.PrometheusOptions{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := prometheus.Process.Stop(30 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return prometheus
}

// waitForUp waits until Prometheus has scraped the proxy, and checks that the scrape succeeded.
func waitForUp(t *testing.T, prometheus *testbed.Prometheus, job string) {
	t.Helper()
	up := fmt.Sprintf(`up{job=%q,k8s_pod_name=""}`, job)
	samples, err := prometheus.WaitFor(t.Context(), up, time.Minute, func(s []testbed.Sample) bool { return len(s) > 0 })
	if err != nil {
		t.Fatal(err)
	}
	if len(samples) != 1 || samples[0].Value != 1 {
		t.Fatalf("%s is %v, want 1", up, samples)
	}
}

func wantValue(t *testing.T, prometheus *testbed.Prometheus, query string, want float64) {
	t.Helper()
	samples, err := prometheus.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	if len(samples) != 1 || samples[0].Value != want {
		t.Errorf("%s is %v, want %v", query, samples, want)
	}
}

// wantNothingRejected checks that Prometheus has not rejected any samples, according to its own
// metrics.
func wantNothingRejected(t *testing.T, prometheus *testbed.Prometheus) {
	t.Helper()
	_, text := get(t, prometheus.URL+"/metrics", nil)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"prometheus_target_scrapes_sample_duplicate_timestamp_total",
		"prometheus_target_scrapes_sample_out_of_order_total",
		"prometheus_target_scrapes_sample_out_of_bounds_total",
		"prometheus_target_scrapes_exceeded_sample_limit_total",
		"prometheus_target_scrapes_exceeded_body_size_limit_total",
		"prometheus_target_scrapes_exemplar_out_of_order_total",
	} {
		if value := total(families[name]); value != 0 {
			t.Errorf("%s is %v, want 0", name, value)
		}
	}
}

// total returns the sum of the counters of a family, or NaN if it is nil.
func total(family *dto.MetricFamily) float64 {
	if family == nil {
		return math.NaN()
	}
	sum := 0.0
	for _, m := range family.GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return sum
}
