package integration

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// sampleBy returns an exposition with one sample. Its label "by" identifies the exporter.
func sampleBy(who string) string { return fmt.Sprintf("said{by=%q} 1\n", who) }

// podWithSample returns a pod whose exporter exposes one sample with the pod's name.
func podWithSample(t *testing.T, test string, n int) testbed.Pod {
	return pod(t, test, n, exporter.Replay([]byte(sampleBy(fmt.Sprintf("%s-%d", test, n)))))
}

// wantSamples polls until the response has exactly these pods, all up. It then checks that each
// has one sample, which its own exporter exposed.
func wantSamples(t *testing.T, proxy *testbed.Proxy, names ...string) {
	t.Helper()
	wantTargets(t, proxy, names...)
	_, response := get(t, proxy.URL("/metrics"), nil)
	for _, name := range names {
		if want := fmt.Sprintf("said{k8s_pod_name=%q,k8s_namespace=", name); strings.Count(response, want) != 1 || !strings.Contains(response, fmt.Sprintf("by=%q} 1\n", name)) {
			t.Errorf("want exactly one %s in\n%s", want, response)
		}
	}
	if n := strings.Count(response, "said{"); n != len(names) {
		t.Errorf("%d samples of %d pods:\n%s", n, len(names), response)
	}
}

// TestHostNetwork tests pods with hostNetwork, which have the same address, that of the node.
func TestHostNetwork(t *testing.T) {
	a, b := podWithSample(t, "host", 6000), podWithSample(t, "host", 6001)
	server, err := exporter.Start(a.IPs[0]+":0", exporter.Replay([]byte(sampleBy(b.Name))))
	must(t, err)
	t.Cleanup(server.Close)
	b.IPs, b.Annotations = a.IPs, testbed.ScrapeAnnotations(server.Port(), "")
	a.HostNetwork, b.HostNetwork = true, true
	createPods(t, a, b)
	proxy := startProxy(t, "host", nil)
	wantSamples(t, proxy, a.Name, b.Name)
	must(t, shared.cluster.DeletePod(t.Context(), a.Namespace, a.Name))
	wantSamples(t, proxy, b.Name)
}

// TestReusedAddress checks that a response has only the new pod after its address was reassigned
// from a pod that is deleted, completed, evicted or terminating. One exporter serves the
// address for both pods.
func TestReusedAddress(t *testing.T) {
	for name, end := range map[string]func(p testbed.Pod) error{
		"deleted": func(p testbed.Pod) error { return shared.cluster.DeletePod(t.Context(), p.Namespace, p.Name) },
		"completed": func(p testbed.Pod) error {
			return shared.cluster.SetPodStatus(t.Context(), p.Namespace, p.Name, corev1.PodSucceeded, p.IPs...)
		},
		"evicted": func(p testbed.Pod) error {
			return shared.cluster.SetPodStatus(t.Context(), p.Namespace, p.Name, corev1.PodFailed, p.IPs...)
		},
		"terminating": func(p testbed.Pod) error { return shared.cluster.TerminatePod(t.Context(), p.Namespace, p.Name) },
	} {
		t.Run(name, func(t *testing.T) {
			test := "reuse-" + name
			a, b := podWithSample(t, test, 6010), podWithSample(t, test, 6011)
			a.NodeName, b.NodeName = "node-1", "node-1"
			createPods(t, a)
			proxy := startProxy(t, test, nil)
			wantSamples(t, proxy, a.Name)
			must(t, end(a))
			if name != "terminating" {
				wantSamples(t, proxy)
			}
			// The exporter at a's address now serves b.
			b.IPs, b.Annotations = a.IPs, a.Annotations
			must(t, shared.cluster.CreatePods(t.Context(), b))
			t.Cleanup(func() { _ = shared.cluster.DeletePod(t.Context(), b.Namespace, b.Name) })
			wantTargets(t, proxy, b.Name)
		})
	}
}

// TestTerminatingPods checks that a terminating pod is scraped, and that a failed scrape of it
// produces no up.
func TestTerminatingPods(t *testing.T) {
	responsive, silent := podWithSample(t, "ending", 6020), podWithSample(t, "ending", 6021)
	responsive.NodeName, silent.NodeName = "node-1", "node-1"
	silent.Annotations["prometheus.io/port"] = "1" // nothing listens there
	createPods(t, responsive, silent)
	proxy := startProxy(t, "ending", nil)
	eventually(t, func() error {
		_, response := get(t, proxy.URL("/metrics"), nil)
		if want := map[string]bool{responsive.Name: true, silent.Name: false}; !maps.Equal(ups(response), want) {
			return fmt.Errorf("targets are %v, want %v", ups(response), want)
		}
		return nil
	})
	for _, p := range []testbed.Pod{responsive, silent} {
		must(t, shared.cluster.TerminatePod(t.Context(), p.Namespace, p.Name))
	}
	wantSamples(t, proxy, responsive.Name)
	must(t, shared.cluster.DeletePod(t.Context(), responsive.Namespace, responsive.Name))
	wantSamples(t, proxy)
}

// TestNativeSidecar checks the source container of TARGET_LABELS for a native sidecar, which is
// an init container.
func TestNativeSidecar(t *testing.T) {
	p := podWithSample(t, "native", 6030)
	var port int32
	_, err := fmt.Sscan(p.Annotations["prometheus.io/port"], &port)
	must(t, err)
	always := corev1.ContainerRestartPolicyAlways
	p.InitContainers = []corev1.Container{{Name: "exporter", Image: "none", RestartPolicy: &always, Ports: []corev1.ContainerPort{{ContainerPort: port}}}}
	createPods(t, p)
	proxy := startProxy(t, "native", map[string]string{"TARGET_LABELS": "pod=pod,container=container"})
	want := fmt.Sprintf(`said{pod=%q,container="exporter",by=%q} 1`, p.Name, p.Name)
	if _, response := get(t, proxy.URL("/metrics"), nil); !strings.Contains(response, want) {
		t.Errorf("no %s in\n%s", want, response)
	}
}

// TestIPv6AndDualStack checks that a pod is scraped at its first address, IPv4 or IPv6.
func TestIPv6AndDualStack(t *testing.T) {
	server, err := exporter.Start("[::1]:0", exporter.Replay([]byte(sampleBy("v6"))))
	if err != nil {
		t.Skipf("this machine has no IPv6 loopback address: %v", err)
	}
	t.Cleanup(server.Close)
	v6, dual := podWithSample(t, "v6", 6040), podWithSample(t, "v6", 6041)
	v6.IPs, v6.Annotations = []string{"::1"}, testbed.ScrapeAnnotations(server.Port(), "")
	dual.IPs = []string{dual.IPs[0], "::1"}
	createPods(t, v6, dual)
	proxy := startProxy(t, "v6", map[string]string{"TARGET_LABELS": "pod=pod,ip=ip"})
	_, response := get(t, proxy.URL("/metrics"), nil)
	for _, want := range []string{
		fmt.Sprintf(`said{pod=%q,ip="::1",by="v6"} 1`, v6.Name),
		fmt.Sprintf(`said{pod=%q,ip=%q,by=%q} 1`, dual.Name, dual.IPs[0], dual.Name),
	} {
		if !strings.Contains(response, want) {
			t.Errorf("no %s in\n%s", want, response)
		}
	}
	if n := strings.Count(response, "up{"); n != 2 {
		t.Errorf("%d targets, want 2", n)
	}
}

// TestSeveralPorts checks that each port is a target, distinguished by k8s_port.
func TestSeveralPorts(t *testing.T) {
	p := podWithSample(t, "ports", 6050)
	second, err := exporter.Start(p.IPs[0]+":0", exporter.Replay([]byte(sampleBy("second"))))
	must(t, err)
	t.Cleanup(second.Close)
	first := p.Annotations["prometheus.io/port"]
	p.Annotations["prometheus.io/port"] = fmt.Sprintf("%s, %d,1", first, second.Port())
	createPods(t, p)
	proxy := startProxy(t, "ports", nil)
	_, response := get(t, proxy.URL("/metrics"), nil)
	for _, want := range []string{
		fmt.Sprintf(`said{k8s_pod_name=%q,k8s_namespace="ports",k8s_port=%q,by=%q} 1`, p.Name, first, p.Name),
		fmt.Sprintf(`said{k8s_pod_name=%q,k8s_namespace="ports",k8s_port="%d",by="second"} 1`, p.Name, second.Port()),
		fmt.Sprintf(`up{k8s_pod_name=%q,k8s_namespace="ports",k8s_port=%q} 1`, p.Name, first),
		fmt.Sprintf(`up{k8s_pod_name=%q,k8s_namespace="ports",k8s_port="1"} 0`, p.Name),
	} {
		if !strings.Contains(response, want) {
			t.Errorf("no %s in\n%s", want, response)
		}
	}
}

// TestHTTPSTargets checks that the certificates of targets are verified, unless
// TARGET_TLS_INSECURE_SKIP_VERIFY is set.
func TestHTTPSTargets(t *testing.T) {
	p := podWithSample(t, "https", 6060)
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey(p.IPs[0], []net.IP{net.ParseIP(p.IPs[0])}, nil)
	must(t, err)
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	must(t, err)
	server, err := exporter.StartTLS(p.IPs[0]+":0", exporter.Replay([]byte(sampleBy(p.Name))), pair)
	must(t, err)
	t.Cleanup(server.Close)
	p.Annotations = testbed.ScrapeAnnotations(server.Port(), "")
	p.Annotations["prometheus.io/scheme"] = "https"
	createPods(t, p)
	authority := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(authority, certPEM, 0o600))
	for name, test := range map[string]struct {
		env  map[string]string
		isUp bool
	}{
		"unknown authority": {nil, false},
		"K8S_CACERT":        {map[string]string{"K8S_CACERT": authority}, true},
		"not verified":      {map[string]string{"TARGET_TLS_INSECURE_SKIP_VERIFY": "true"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := startProxy(t, "https", test.env)
			if test.isUp {
				wantSamples(t, proxy, p.Name)
				return
			}
			_, response := get(t, proxy.URL("/metrics"), nil)
			if up, ok := ups(response)[p.Name]; up || !ok {
				t.Errorf("the target is up: %t (exposed: %t), want down", up, ok)
			}
			wantOwnMetric(t, proxy, `metrics_proxy_target_scrapes_total{reason="tls"} 1`)
		})
	}
}

// TestTargetsThatCannotBeScraped tests a malformed annotation and targets with the same labels.
// The reasons must be logged and counted.
func TestTargetsThatCannotBeScraped(t *testing.T) {
	good, malformed, same := podWithSample(t, "problem", 6070), podWithSample(t, "problem", 6071), podWithSample(t, "problem", 6072)
	malformed.Annotations["prometheus.io/port"] = "http"
	for i, p := range []*testbed.Pod{&good, &malformed, &same} {
		p.Labels["app"] = []string{"a", "b", "a"}[i]
	}
	createPods(t, good, malformed, same)
	proxy := startProxy(t, "problem", map[string]string{"TARGET_LABELS": "app=label:app"})
	_, response := get(t, proxy.URL("/metrics"), nil)
	for _, want := range []string{`up{app="a"} 1`, `up{app="b"} 0`, fmt.Sprintf(`said{app="a",by=%q} 1`, good.Name)} {
		if strings.Count(response, want+"\n") != 1 {
			t.Errorf("want exactly one %s in\n%s", want, response)
		}
	}
	if strings.Count(response, `{app="a"`) != 2 {
		t.Errorf("the second target with the same labels is in the response:\n%s", response)
	}
	for _, reason := range []string{"annotation", "identity"} {
		wantOwnMetric(t, proxy, fmt.Sprintf("metrics_proxy_target_scrapes_total{reason=%q} 1", reason))
	}
	for _, want := range []string{`annotation prometheus.io/port is \"http\": expected comma-separated TCP ports`, "has the same labels: TARGET_LABELS must distinguish them"} {
		if !strings.Contains(proxy.Log(), want) {
			t.Errorf("no %q in the log", want)
		}
	}
}

// A pod at a reserved address is down and receives no request, unless the user allows it,
// as all other tests do.
func TestReservedAddresses(t *testing.T) {
	local, metadata := podWithSample(t, "reserved", 6090), pod(t, "reserved", 6091, exporter.Replay(nil))
	metadata.IPs = []string{"169.254.169.254"}
	createPods(t, local, metadata)
	proxy := startProxy(t, "reserved", map[string]string{"ALLOW_RESERVED_TARGETS": ""}) // empty is unset
	_, answer := get(t, proxy.URL("/metrics"), nil)
	for _, p := range []testbed.Pod{local, metadata} {
		if up, ok := ups(answer)[p.Name]; up || !ok || countSamples(answer, p.Name) != 1 {
			t.Errorf("%s is up: %t, there: %t", p.IPs[0], up, ok)
		}
	}
	wantOwnMetric(t, proxy, `metrics_proxy_target_scrapes_total{reason="reserved"} 2`)
	for _, kind := range []string{"loopback", "link-local"} {
		if want := "expected one that is not " + kind + ", or ALLOW_RESERVED_TARGETS=true"; !strings.Contains(proxy.Log(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}
