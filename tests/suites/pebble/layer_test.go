package pebble

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/canonical/pebble/internals/plan"
	"gopkg.in/yaml.v3"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// service is the name of the service and of its check. Charms depend on it.
const service = "metrics-proxy"

// rock holds the parts of rockcraft.yaml that Pebble uses.
type rock struct {
	Environment map[string]string `yaml:"environment"`
	Layer       struct {
		Summary     string    `yaml:"summary"`
		Description string    `yaml:"description"`
		Services    yaml.Node `yaml:"services"`
		Checks      yaml.Node `yaml:"checks"`
	} `yaml:",inline"`
}

func readRock(t *testing.T) (r rock) {
	t.Helper()
	content, err := os.ReadFile("../../../rockcraft.yaml")
	if err == nil {
		err = yaml.Unmarshal(content, &r)
	}
	if err != nil {
		t.Fatalf("cannot read rockcraft.yaml: %v", err)
	}
	return r
}

// rockLayer returns the layer that rockcraft generates for the rock.
func rockLayer(t *testing.T) string {
	t.Helper()
	content, err := yaml.Marshal(readRock(t).Layer)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// parse combines layers into a plan, as Pebble does when it starts or when a layer is added.
func parse(layers ...string) (*plan.Plan, error) {
	var parsed []*plan.Layer
	for i, content := range layers {
		l, err := plan.ParseLayer(i+1, fmt.Sprintf("layer-%d", i), []byte(content))
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, l)
	}
	combined, err := plan.CombineLayers(parsed...)
	if err != nil {
		return nil, err
	}
	p := &plan.Plan{Layers: parsed, Services: combined.Services, Checks: combined.Checks}
	return p, p.Validate()
}

func TestLayer(t *testing.T) {
	p, err := parse(rockLayer(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Services) != 1 || len(p.Checks) != 1 || p.Services[service] == nil || p.Checks[service] == nil {
		t.Fatalf("services %v and checks %v, want one of each: %s", p.Services, p.Checks, service)
	}
	s, check := p.Services[service], p.Checks[service]
	if s.Startup != plan.StartupEnabled {
		t.Errorf("startup is %q", s.Startup)
	}
	if s.Command != "metrics-proxy" {
		t.Errorf("command is %q", s.Command)
	}
	if s.OnFailure != plan.ActionShutdown {
		t.Errorf("on-failure is %q: the container would keep running without the service", s.OnFailure)
	}
	if len(s.Environment) != 0 {
		t.Errorf("environment is %v: it would override the environment of the container", s.Environment)
	}
	if check.Level != plan.UnsetLevel {
		t.Errorf("level of the check is %q: Juju would kill the container before a charm has configured the service", check.Level)
	}
	if check.Exec == nil || check.Exec.Command != "metrics-proxy healthcheck" || check.Exec.ServiceContext != service {
		t.Errorf("check is %+v: want metrics-proxy healthcheck with the service's environment", check.Exec)
	}
}

// TestKillDelay checks that Pebble does not kill the service while it completes scrapes in
// flight.
func TestKillDelay(t *testing.T) {
	defaults, _, err := config.Load([]string{"POD_LABEL_SELECTOR=a"})
	if err != nil {
		t.Fatal(err)
	}
	const slack = 15 * time.Second // how long a shutdown may take, in addition to SCRAPE_TIMEOUT
	p, err := parse(rockLayer(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, atLeast := p.Services[service].KillDelay.Value, time.Duration(defaults.Scrape.Timeout)+slack; got <= atLeast {
		t.Errorf("kill-delay is %s: want more than %s", got, atLeast)
	}
}

// TestLayerTypos checks that Pebble rejects mistakes in the layer.
func TestLayerTypos(t *testing.T) {
	good := rockLayer(t)
	for _, test := range []struct{ old, typo, want string }{
		{"override: replace", "override: replce", `invalid "override"`},
		{"override: replace", "overide: replace", "overide"},
		{"command: metrics-proxy\n", "comand: metrics-proxy\n", "comand"},
		{"command: metrics-proxy\n", "command: metrics-proxy '\n", "command invalid"},
		{"startup: enabled", "start: enabled", "start"},
		{"on-failure: shutdown", "on-failure: shutdwn", `"shutdwn"`},
		{"kill-delay: 30s", "kill-delay: 30", "duration"},
		{"service-context: metrics-proxy", "service-context: metrics-poxy", `"metrics-poxy"`},
		{"checks:", "check:", `"check"`},
		{"threshold: 3", "treshold: 3", "treshold"},
	} {
		bad := strings.ReplaceAll(good, test.old, test.typo)
		if bad == good {
			t.Errorf("%q is not in the layer:\n%s", test.old, good)
			continue
		}
		if _, err := parse(bad); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want one with %s", test.typo, err, test.want)
		}
	}
}

// TestCharmLayer checks that a charm's layer replaces the whole service, including kill-delay.
// It keeps the rock's check, which uses the environment of the service.
func TestCharmLayer(t *testing.T) {
	p, err := parse(rockLayer(t), istioLayer("app=a", 1234))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Services[service].Environment["PORT"]; got != "1234" {
		t.Errorf("PORT is %q", got)
	}
	if got := p.Services[service].KillDelay; got.IsSet {
		t.Errorf("kill-delay is %s, want none: docs/rock.md states that it is replaced", got.Value)
	}
	context, err := plan.MergeServiceContext(p, p.Checks[service].Exec.ServiceContext, plan.ContextOptions{})
	if err != nil || context.Environment["PORT"] != "1234" {
		t.Errorf("the environment of the check is %v, error %v", context.Environment, err)
	}
}

// istioLayer returns the layer that the charms istio-k8s and istio-beacon-k8s add.
func istioLayer(selector string, port int) string {
	return fmt.Sprintf(`
summary: Metrics Broadcast Proxy Layer
description: Pebble layer for the metrics broadcast proxy
services:
  metrics-proxy:
    override: replace
    summary: Metrics Broadcast Proxy
    command: metrics-proxy
    startup: enabled
    environment:
      POD_LABEL_SELECTOR: %q
      SCRAPE_TIMEOUT: "8s"
      PORT: "%d"
`, selector, port)
}
