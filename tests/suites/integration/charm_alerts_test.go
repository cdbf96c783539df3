package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// TestCharmAlertRules runs the charm's alert rules in a real Prometheus that scrapes the proxy
// as the relation configures it. Each selector must match series, and the only alerts must be
// for the pod that is down. HostDown of the Prometheus charm fires for it as well, as
// docs/alerts.md describes.
func TestCharmAlertRules(t *testing.T) {
	down := pod(t, "alerts", 7300, http.NotFoundHandler())
	createPods(t, down, podWithSample(t, "alerts", 7301))
	proxy := startProxy(t, "alerts", nil)
	rules, selectors := alertRules(t)
	ownMetrics := strings.TrimSuffix(strings.TrimPrefix(proxy.OwnMetricsURL(), "http://"), "/metrics")
	const unit = `{juju_model: m, juju_model_uuid: u, juju_application: a, juju_unit: a/0}`
	prometheus := startPrometheus(t, fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
- {job_name: pods, honor_labels: true, static_configs: [{targets: [%q], labels: %s}]}
- {job_name: own, honor_labels: true, static_configs: [{targets: [%q], labels: %[3]s}]}
`, rules, proxy.Address(), unit, ownMetrics))

	waitForUp(t, prometheus, "pods")
	waitForUp(t, prometheus, "own")
	for _, selector := range selectors {
		if samples, err := prometheus.Query(t.Context(), selector); err != nil || len(samples) == 0 {
			t.Errorf("%s returns %v, error %v: the alert can never fire", selector, samples, err)
		}
	}
	both := func(s []testbed.Sample) bool { return len(s) >= 2 }
	firing, err := prometheus.WaitFor(t.Context(), `ALERTS{alertstate="firing"}`, time.Minute, both)
	must(t, err)
	names := map[string]bool{}
	for _, alert := range firing {
		names[alert.Labels["alertname"]] = true
		if alert.Labels["k8s_pod_name"] != down.Name || alert.Labels["juju_unit"] != "a/0" {
			t.Errorf("unexpected alert: %v", alert.Labels)
		}
	}
	if len(firing) != 2 || !names["MetricsProxyTargetDown"] || !names["HostDown"] {
		t.Errorf("the firing alerts are %v, want MetricsProxyTargetDown and HostDown", firing)
	}
}

// alertRules writes a rule file with the charm's rules, without their for clauses, and with
// HostDown, which the library of the relation adds. It returns the path and the selectors of
// the charm's rules.
func alertRules(t *testing.T) (path string, selectors []string) {
	t.Helper()
	const topology = `juju_model="m",juju_model_uuid="u",juju_application="a"`
	content, err := os.ReadFile("../../../charm/src/prometheus_alert_rules/metrics_proxy.rules")
	must(t, err)
	text := strings.ReplaceAll(string(content), "%%juju_topology%%", topology)
	text = regexp.MustCompile(`(?m)^ *for: .*\n`).ReplaceAllString(text, "")
	var parsed struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
			}
		}
	}
	must(t, yaml.Unmarshal([]byte(text), &parsed))
	for _, group := range parsed.Groups {
		for _, rule := range group.Rules {
			found := regexp.MustCompile(`\w+\{.*?\}`).FindAllString(rule.Expr, -1)
			if len(found) == 0 {
				t.Errorf("%s has no selector: %s", rule.Alert, rule.Expr)
			}
			selectors = append(selectors, found...)
		}
	}
	text += "  - name: host\n    rules:\n      - {alert: HostDown, expr: 'up{" + topology + "} < 1'}\n"
	path = filepath.Join(t.TempDir(), "rules.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return path, selectors
}
