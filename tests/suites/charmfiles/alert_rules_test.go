package charmfiles

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

const (
	rulesFile = "../../../charm/src/prometheus_alert_rules/metrics_proxy.rules"
	// topology is an example of what the library prometheus_scrape substitutes for
	// %%juju_topology%%.
	topology = `juju_model="shop", juju_model_uuid="00000000-0000-4000-8000-000000000000", juju_application="proxy"`
)

type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// TestAlertRules runs promtool test rules with testdata/alerts.yaml. To verify that these
// tests are sufficient, it also runs them with modified rules, for example rules that never
// fire, always fire, or fire immediately. promtool must report a failure for each of them.
func TestAlertRules(t *testing.T) {
	promtool, err := testbed.Binary(t.Context(), "promtool", t.Output())
	must(t, err)
	if out, err := promtoolTest(t, promtool, readRules(t)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, r := range readRules(t).Groups[0].Rules {
		changes := map[string]func(*rule){
			"never fires":                  func(r *rule) { r.Expr = "(" + r.Expr + ") and vector(0) > 1" },
			"always fires":                 func(r *rule) { r.Expr = "vector(1)" },
			"fires for other applications": func(r *rule) { r.Expr = strings.Replace(r.Expr, "%%juju_topology%%", "", 1) },
			"has another severity":         func(r *rule) { r.Labels["severity"] = "info" },
		}
		if r.For != "" {
			changes["fires immediately"] = func(r *rule) { r.For = "" }
		}
		for name, change := range changes {
			t.Run(r.Alert+" "+name, func(t *testing.T) {
				rules := readRules(t)
				change(&rules.Groups[0].Rules[i])
				out, err := promtoolTest(t, promtool, rules)
				if err == nil {
					t.Error("promtool reports no failure")
				}
				if !strings.Contains(out, r.Alert) || strings.Contains(out, "error parsing") {
					t.Errorf("promtool reports another failure:\n%s", out)
				}
			})
		}
	}
}

// TestAlertRulesSelectApplication checks that every selector of every rule has the topology
// labels, so that no rule fires for another application.
func TestAlertRulesSelectApplication(t *testing.T) {
	for _, r := range readRules(t).Groups[0].Rules {
		selectors := regexp.MustCompile(`\w+\{`).FindAllString(r.Expr, -1)
		if len(selectors) == 0 || len(selectors) != strings.Count(r.Expr, "{%%juju_topology%%") {
			t.Errorf("%s: %s: not every selector starts with the topology", r.Alert, r.Expr)
		}
	}
}

func readRules(t *testing.T) (rules ruleFile) {
	t.Helper()
	content, err := os.ReadFile(rulesFile)
	must(t, err)
	must(t, yaml.UnmarshalStrict(content, &rules))
	if len(rules.Groups) != 1 || len(rules.Groups[0].Rules) == 0 {
		t.Fatal("want one group with rules")
	}
	return rules
}

// promtoolTest checks the rules with promtool, and runs the tests of testdata/alerts.yaml.
func promtoolTest(t *testing.T, promtool string, rules ruleFile) (string, error) {
	t.Helper()
	content, err := yaml.Marshal(rules)
	must(t, err)
	tests, err := os.ReadFile("testdata/alerts.yaml")
	must(t, err)
	dir := t.TempDir()
	for name, content := range map[string]string{"rules.yaml": string(content), "tests.yaml": string(tests)} {
		content = strings.ReplaceAll(content, "%%juju_topology%%", topology)
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return string(out), err
	}
	cmd = exec.CommandContext(t.Context(), promtool, "test", "rules", "tests.yaml")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
