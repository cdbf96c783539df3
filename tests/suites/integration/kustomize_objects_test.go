package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// proxyPorts are the ports of the proxy, by their names in the pod and the Service.
var proxyPorts = map[string]int32{"metrics": 15090, "own-metrics": 5055}

// restrictedContainer returns a container that complies with the restricted Pod Security
// Standard.
func restrictedContainer() corev1.Container {
	return corev1.Container{Name: "main", Image: "none", SecurityContext: &corev1.SecurityContext{
		RunAsNonRoot: new(true), AllowPrivilegeEscalation: new(false),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}}
}

// portOf returns the number of a named port of the pod, or 0.
func portOf(pod corev1.Pod, name string) int32 {
	for _, port := range pod.Spec.Containers[0].Ports {
		if port.Name == name {
			return port.ContainerPort
		}
	}
	return 0
}

// checkService checks that the real controller adds the proxies to the Service's endpoints,
// with both ports. Endpoints must be ready if the pod is ready, or if the Service is
// headless.
func checkService(t *testing.T, d *deployment, pods []corev1.Pod, headless bool) {
	t.Helper()
	service, err := shared.cluster.Client.CoreV1().Services(d.namespace).Get(t.Context(), d.name, metav1.GetOptions{})
	must(t, err)
	if (service.Spec.ClusterIP == corev1.ClusterIPNone) != headless {
		t.Errorf("the Service's clusterIP is %s, want headless: %t", service.Spec.ClusterIP, headless)
	}
	for _, pod := range pods {
		if d.overlay == "shards" && pod.Spec.Subdomain != service.Name {
			t.Errorf("%s has subdomain %q, want the Service %s", pod.Name, pod.Spec.Subdomain, service.Name)
		}
	}
	for _, phase := range []corev1.PodPhase{corev1.PodPending, corev1.PodRunning} {
		want := 0
		for i, pod := range pods {
			must(t, shared.cluster.SetPodStatus(t.Context(), pod.Namespace, pod.Name, phase, fmt.Sprintf("192.0.2.%d", i+1)))
			if headless || phase == corev1.PodRunning {
				want++
			}
		}
		eventually(t, func() error {
			slices, err := shared.cluster.Client.DiscoveryV1().EndpointSlices(d.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + d.name})
			if err != nil {
				return err
			}
			known, ready := 0, 0
			for _, slice := range slices.Items {
				for _, endpoint := range slice.Endpoints {
					known++
					if *endpoint.Conditions.Ready {
						ready++
					}
				}
				for _, port := range slice.Ports {
					if known > 0 && proxyPorts[*port.Name] != *port.Port || len(slice.Ports) != len(proxyPorts) {
						return fmt.Errorf("the endpoints have port %s %d", *port.Name, *port.Port)
					}
				}
			}
			if known != len(pods) || ready != want {
				return fmt.Errorf("the Service has %d endpoints, %d of them ready, want %d and %d", known, ready, len(pods), want)
			}
			return nil
		})
	}
}

// checkNetworkPolicy checks that the policy allows only Prometheus to reach the proxies, on
// their two ports. The enforcement is not tested, because there is no pod network.
func checkNetworkPolicy(t *testing.T, d *deployment, pod corev1.Pod) {
	t.Helper()
	policy, err := shared.cluster.Client.NetworkingV1().NetworkPolicies(d.namespace).Get(t.Context(), d.name, metav1.GetOptions{})
	must(t, err)
	wantSelected(t, "the NetworkPolicy", &policy.Spec.PodSelector, pod.Labels)
	if types := policy.Spec.PolicyTypes; len(types) != 1 || types[0] != networkingv1.PolicyTypeIngress || len(policy.Spec.Ingress) != 1 || len(policy.Spec.Ingress[0].From) != 1 {
		t.Fatalf("the NetworkPolicy is %v, want one ingress rule with one peer", policy.Spec)
	}
	rule := policy.Spec.Ingress[0]
	wantSelected(t, "the NetworkPolicy's peer", rule.From[0].PodSelector, map[string]string{"app.kubernetes.io/name": "prometheus"})
	if selector, _ := metav1.LabelSelectorAsSelector(rule.From[0].PodSelector); selector.Matches(labels.Set(pod.Labels)) || selector.Empty() {
		t.Errorf("the NetworkPolicy's peer %s is too wide", selector)
	}
	if len(rule.Ports) != len(proxyPorts) {
		t.Errorf("the NetworkPolicy has the ports %v", rule.Ports)
	}
	for _, port := range rule.Ports {
		if name := port.Port.String(); proxyPorts[name] == 0 || portOf(pod, name) != proxyPorts[name] {
			t.Errorf("the NetworkPolicy has port %s, which is %d in the pod", name, portOf(pod, name))
		}
	}
}

// checkBudget checks that the PodDisruptionBudget allows one disruption, or that there is none
// if want is false.
func checkBudget(t *testing.T, d *deployment, pods []corev1.Pod, want bool) {
	t.Helper()
	eventually(t, func() error {
		list, err := shared.cluster.Client.PolicyV1().PodDisruptionBudgets(d.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil || !want && len(list.Items) == 0 {
			return err
		}
		if len(list.Items) != 1 || !want {
			return fmt.Errorf("there are %d PodDisruptionBudgets, want one: %t", len(list.Items), want)
		}
		if status := list.Items[0].Status; int(status.ExpectedPods) != len(pods) || status.DisruptionsAllowed != 1 {
			return fmt.Errorf("%d of %d pods may be disrupted, want 1 of %d", status.DisruptionsAllowed, status.ExpectedPods, len(pods))
		}
		return nil
	})
}

func wantSelected(t *testing.T, what string, selector *metav1.LabelSelector, set map[string]string) {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	must(t, err)
	if !parsed.Matches(labels.Set(set)) {
		t.Errorf("%s: selector %s does not match %v", what, parsed, set)
	}
}

// monitor holds the fields of a ServiceMonitor or PodMonitor that checkMonitors uses.
type monitor struct {
	Kind string
	Spec struct {
		Selector            metav1.LabelSelector
		Endpoints           []monitorEndpoint
		PodMetricsEndpoints []monitorEndpoint
	}
}

type monitorEndpoint struct {
	Port        string
	HonorLabels bool
}

func readMonitor(t *testing.T, name string) (m monitor) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../../deploy/kustomize/examples", name))
	must(t, err)
	must(t, yaml.Unmarshal(content, &m))
	return m
}

// checkMonitors checks that the examples select the Service and the pods, and their ports.
func checkMonitors(t *testing.T, d *deployment, pod corev1.Pod) {
	t.Helper()
	service, err := shared.cluster.Client.CoreV1().Services(d.namespace).Get(t.Context(), d.name, metav1.GetOptions{})
	must(t, err)
	servicePorts := map[string]int32{}
	for _, port := range service.Spec.Ports {
		servicePorts[port.Name] = port.Port
	}
	check := func(m monitor, set map[string]string, endpoints []monitorEndpoint, number func(string) int32) {
		wantSelected(t, m.Kind, &m.Spec.Selector, set)
		found := map[string]int32{}
		for _, e := range endpoints {
			found[e.Port] = number(e.Port)
			if e.HonorLabels != (e.Port == "metrics") {
				t.Errorf("the %s has the endpoint %v, want honorLabels for port metrics only", m.Kind, e)
			}
		}
		if !maps.Equal(found, proxyPorts) {
			t.Errorf("the %s has the ports %v, want %v", m.Kind, found, proxyPorts)
		}
	}
	m := readMonitor(t, "service-monitor.yaml")
	check(m, service.Labels, m.Spec.Endpoints, func(name string) int32 { return servicePorts[name] })
	m = readMonitor(t, "pod-monitor.yaml")
	check(m, pod.Labels, m.Spec.PodMetricsEndpoints, func(name string) int32 { return portOf(pod, name) })
}

// TestMonitorExamples checks that the API server, with the CustomResourceDefinitions of the
// Prometheus operator, accepts the examples and rejects a misspelled field.
func TestMonitorExamples(t *testing.T) {
	tool, err := filepath.Abs("../../modules/tools/prometheus-operator")
	must(t, err)
	var operator struct{ Dir string }
	must(t, json.Unmarshal([]byte(goCommand(t, tool, "mod", "download", "-json", "github.com/prometheus-operator/prometheus-operator")), &operator))
	definitions := func(kind string) string {
		return filepath.Join(operator.Dir, "example/prometheus-operator-crd/monitoring.coreos.com_"+kind+".yaml")
	}
	s := newShell(t)
	must(t, shared.cluster.CreateNamespaces(t.Context(), "metrics-proxy"))
	for name, kind := range map[string]string{"service-monitor.yaml": "servicemonitors", "pod-monitor.yaml": "podmonitors"} {
		s.run(t, "kubectl apply --server-side -f "+definitions(kind))
		t.Cleanup(func() { s.run(t, "kubectl delete -f "+definitions(kind)) })
		s.run(t, "kubectl wait --for=condition=established crd/"+kind+".monitoring.coreos.com")
		example := "deploy/kustomize/examples/" + name
		apply := "kubectl apply --server-side -f " + example
		eventually(t, func() error { // the API server may not serve the new kind yet
			output, err := s.try(apply)
			if err != nil {
				return fmt.Errorf("%w: %s", err, output)
			}
			return nil
		})
		edit(t, filepath.Join(s.dir, example), "honorLabels", "honourLabels")
		if output, err := s.try(apply); err == nil || !strings.Contains(output, "honourLabels") {
			t.Errorf("unknown field honourLabels: error %v, output %s", err, output)
		}
	}
}
