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

// The charm's alert rules in a real Prometheus that scrapes a real unit as the relation
// tells it to: what they ask for is there, a pod that is down is told, and only that. The
// Prometheus charm's own HostDown tells it as well, as docs/alerts.md says.
func TestAlertRulesOfTheCharm(t *testing.T) {
	down := pod(t, "alerts", 7300, http.NotFoundHandler())
	createPods(t, down, podThatSays(t, "alerts", 7301))
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
			t.Errorf("%s is %v, %v: no alert can come of it", selector, samples, err)
		}
	}
	both := func(s []testbed.Sample) bool { return len(s) >= 2 }
	firing, err := prometheus.WaitFor(t.Context(), `ALERTS{alertstate="firing"}`, time.Minute, both)
	must(t, err)
	names := map[string]bool{}
	for _, alert := range firing {
		names[alert.Labels["alertname"]] = true
		if alert.Labels["k8s_pod_name"] != down.Name || alert.Labels["juju_unit"] != "a/0" {
			t.Errorf("an alert that is not the pod's: %v", alert.Labels)
		}
	}
	if len(firing) != 2 || !names["MetricsProxyTargetDown"] || !names["HostDown"] {
		t.Errorf("firing: %v", firing)
	}
}

// alertRules writes the charm's rules without their delays, and HostDown as the relation's
// library adds it, and returns what the charm's select.
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
				t.Errorf("%s selects nothing: %s", rule.Alert, rule.Expr)
			}
			selectors = append(selectors, found...)
		}
	}
	text += "  - name: host\n    rules:\n      - {alert: HostDown, expr: 'up{" + topology + "} < 1'}\n"
	path = filepath.Join(t.TempDir(), "rules.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return path, selectors
}
