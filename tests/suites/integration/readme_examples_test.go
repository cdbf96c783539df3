package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// TestReadmeExamples checks that the ClusterRole of the README is sufficient, and that its
// Prometheus configuration works.
func TestReadmeExamples(t *testing.T) {
	var role rbacv1.ClusterRole
	must(t, yaml.UnmarshalStrict([]byte(readmeBlock(t, "# RBAC")), &role))
	user, err := shared.cluster.NewUser(t.Context(), "readme", testbed.Grant{Rules: role.Rules})
	must(t, err)
	config, err := shared.cluster.Kubeconfig(user, "")
	must(t, err)
	p := pod(t, "readme", 6000, exporter.Replay([]byte("a 1\n")))
	createPods(t, p)
	proxy := startProxy(t, "readme", map[string]string{"KUBECONFIG": config})
	wantTargets(t, proxy, p.Name)
	if strings.Contains(proxy.Log(), "level=WARN") || strings.Contains(proxy.Log(), "level=ERROR") {
		t.Errorf("the log has warnings or errors:\n%s", proxy.Log())
	}

	scrape := strings.ReplaceAll(readmeBlock(t, "# prometheus.yml"), "127.0.0.1:15090", proxy.Address())
	prometheus := startPrometheus(t, "global: {scrape_interval: 3s, scrape_timeout: 3s}\n"+scrape)
	waitForUp(t, prometheus, "pods")
	wantValue(t, prometheus, `a{k8s_namespace="readme",job="pods"}`, 1)
	wantValue(t, prometheus, `up{k8s_pod_name!=""}`, 1)
}

// readmeBlock returns the YAML block of the README that starts with the line, without it.
func readmeBlock(t *testing.T, firstLine string) string {
	t.Helper()
	readme, err := os.ReadFile("../../../README.md")
	must(t, err)
	block := regexp.MustCompile("(?s)```yaml\n" + regexp.QuoteMeta(firstLine) + "\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatalf("the README has no YAML block %q", firstLine)
	}
	return string(block[1])
}
