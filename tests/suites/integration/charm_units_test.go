package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// TestCharmUnits runs three units of the charm as Juju does: the rock under Juju's Pebble, each
// at its own address, with the layer that the charm generates. A real Prometheus uses the
// scrape configurations that the Prometheus charm generates from the charm's relation data.
// It must scrape every unit and store each series once, whether honor_labels is true, as in
// these configurations, or false.
func TestCharmUnits(t *testing.T) {
	const units, pods = 3, 12
	rock(t)
	gateway := bridgeAddress(t)
	createPods(t, podsAt(t, gateway, pods)...)
	var containers, addresses []string
	for range units {
		id := startOnHold(t, gateway)
		containers = append(containers, id)
		addresses = append(addresses, docker(t, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", id))
	}
	rel := relate(t, `{"pod-label-selector": "test=units", "namespaces": "*"}`, addresses...)
	for i, id := range containers {
		configure(t, id, rel.Plans[i])
	}
	for _, honorLabels := range []bool{true, false} {
		t.Run(fmt.Sprint("honor_labels=", honorLabels), func(t *testing.T) {
			t.Parallel()
			prometheus := startPrometheus(t, rel.config(t, map[string]any{"honor_labels": honorLabels, "scrape_interval": "1s", "scrape_timeout": "1s"}))
			hasLength := func(n int) func([]testbed.Sample) bool {
				return func(s []testbed.Sample) bool { return len(s) == n }
			}
			for query, n := range map[string]int{
				`up{juju_application="metrics-proxy-k8s",k8s_pod_name=""} == 1`:  2 * units, // the merged metrics, and the own metrics
				`count by (juju_unit, instance) (metrics_proxy_build_info)`:      units,
				`up{juju_application="metrics-proxy-k8s",k8s_pod_name!=""} == 1`: pods,
				`said`:                                pods,
				`count by (juju_unit) (said)`:         units,
				`count by (k8s_pod_name) (said) == 1`: pods,
			} {
				if samples, err := prometheus.WaitFor(t.Context(), query, time.Minute, hasLength(n)); err != nil {
					t.Errorf("%s: %v: %d samples, want %d: %v", query, err, len(samples), n, samples)
				}
			}
			mislabelled, err := prometheus.Query(t.Context(), `said unless label_replace(said, "k8s_pod_name", "$1", "by", "(.*)")`)
			if err != nil || len(mislabelled) > 0 {
				t.Errorf("samples with the labels of another pod: %v, error %v", mislabelled, err)
			}
		})
	}
}

// TestCharmScrapeConfigs checks that the scrape configurations are valid, and that
// scrape_timeout exceeds the proxy's SCRAPE_TIMEOUT.
func TestCharmScrapeConfigs(t *testing.T) {
	promtool, err := testbed.Binary(t.Context(), "promtool", os.Stderr)
	must(t, err)
	for timeout, want := range map[string][2]string{"9s": {"60s", "10s"}, "90s": {"91s", "91s"}, "1.5": {"60s", "3s"}} {
		rel := relate(t, fmt.Sprintf(`{"pod-label-selector": "app=web", "scrape-timeout": %q}`, timeout), "192.0.2.1", "192.0.2.2")
		if len(rel.ScrapeConfigs) != 4 {
			t.Errorf("%d scrape configurations, want two for each unit: %v", len(rel.ScrapeConfigs), rel.ScrapeConfigs)
		}
		config := filepath.Join(t.TempDir(), "prometheus.yml")
		must(t, os.WriteFile(config, []byte(rel.config(t, nil)), 0o600))
		if out, err := exec.CommandContext(t.Context(), promtool, "check", "config", config).CombinedOutput(); err != nil {
			t.Errorf("with scrape-timeout %s promtool reports %s", timeout, out)
		}
		for _, c := range rel.ScrapeConfigs {
			isOwn := strings.Contains(fmt.Sprint(c["job_name"]), "-own-")
			if got := [2]string{fmt.Sprint(c["scrape_interval"]), fmt.Sprint(c["scrape_timeout"])}; !isOwn && got != want {
				t.Errorf("with scrape-timeout %s interval and timeout are %v, want %v", timeout, got, want)
			}
		}
	}
}

// bridgeAddress returns the address of this machine on Docker's default network. It reads the
// interface, because Docker 20.10 may report no gateway for the network.
func bridgeAddress(t *testing.T) string {
	t.Helper()
	bridge, err := net.InterfaceByName(docker(t, "network", "inspect", "bridge", "--format", `{{index .Options "com.docker.network.bridge.name"}}`))
	must(t, err)
	addresses, err := bridge.Addrs()
	must(t, err)
	for _, address := range addresses {
		if ip, _, err := net.ParseCIDR(address.String()); err == nil && ip.To4() != nil {
			return ip.String()
		}
	}
	t.Fatalf("%s has no IPv4 address: %v", bridge.Name, addresses)
	return ""
}

// podsAt returns n pods with hostNetwork on one node, whose exporters listen on the node's
// address.
func podsAt(t *testing.T, node string, n int) []testbed.Pod {
	t.Helper()
	var pods []testbed.Pod
	for i := range n {
		name := fmt.Sprintf("units-%d", i)
		server, err := exporter.Start(node+":0", exporter.Replay([]byte(sampleBy(name))))
		must(t, err)
		t.Cleanup(server.Close)
		pods = append(pods, testbed.Pod{
			Namespace: "units", Name: name, Labels: map[string]string{"test": "units"},
			IPs: []string{node}, HostNetwork: true, Annotations: testbed.ScrapeAnnotations(server.Port(), ""),
		})
	}
	return pods
}

// startOnHold starts the rock as Juju does: the service does not start before a charm
// configures it. The container reaches the API server through the gateway.
func startOnHold(t *testing.T, gateway string) (id string) {
	t.Helper()
	apiServer := newForwarderAt(t, gateway, strings.TrimPrefix(shared.cluster.Server, "https://"))
	kubeconfig, err := shared.cluster.Kubeconfig(shared.cluster.Proxy, "https://"+apiServer.address)
	must(t, err)
	options := append(mountKubeconfig(t, kubeconfig), jujuPebbleOptions(t, "1.26")...)
	return startContainer(t, options, "run", "--create-dirs", "--hold", "--verbose")
}

// relation holds what the units generate for Prometheus.
type relation struct {
	Plans         []string         // Pebble plan of each unit's container
	ScrapeConfigs []map[string]any `json:"scrape_configs"`
}

// relate runs a unit of the charm at each address, with the configuration, in a relation with
// Prometheus.
func relate(t *testing.T, config string, addresses ...string) (r relation) {
	t.Helper()
	out, err := testbed.Python(t.Context(), nil, append([]string{"tests/real/units.py", config}, addresses...)...)
	must(t, err)
	must(t, json.Unmarshal(out, &r))
	return r
}

// config returns a prometheus.yml. overrides replaces fields of each scrape configuration.
func (r relation) config(t *testing.T, overrides map[string]any) string {
	t.Helper()
	var configs []map[string]any
	for _, original := range r.ScrapeConfigs {
		config := maps.Clone(original)
		maps.Copy(config, overrides)
		configs = append(configs, config)
	}
	text, err := json.Marshal(map[string]any{"scrape_configs": configs})
	must(t, err)
	return string(text)
}

// configure adds the plan as a layer and replans, as a charm does.
func configure(t *testing.T, id, plan string) {
	t.Helper()
	add := exec.Command("docker", "exec", "--interactive", id, "/charm/bin/pebble", "add", "--combine", "metrics-proxy", "/dev/stdin")
	add.Stdin = strings.NewReader(plan)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("cannot add the layer: %v: %s", err, out)
	}
	docker(t, "exec", id, "/charm/bin/pebble", "replan")
}
