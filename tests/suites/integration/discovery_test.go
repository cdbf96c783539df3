package integration

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

var sampleLine = regexp.MustCompile(`(?m)^[^#\n]`)

// wantTargets polls until the response has exactly these pods, all up. Without pods, the
// response must be successful and have no samples.
func wantTargets(t *testing.T, proxy *testbed.Proxy, names ...string) {
	t.Helper()
	want := map[string]bool{}
	for _, name := range names {
		want[name] = true
	}
	eventually(t, func() error {
		status, response := get(t, proxy.URL("/metrics"), nil)
		if status != http.StatusOK || !maps.Equal(ups(response), want) || len(want) == 0 && sampleLine.MatchString(response) {
			return fmt.Errorf("status %d, targets are %v, want %v\n%s", status, ups(response), want, response)
		}
		return nil
	})
}

func TestPodLifecycle(t *testing.T) {
	ctx, cluster := t.Context(), shared.cluster
	proxy := startProxy(t, "life", nil)
	wantTargets(t, proxy)
	a := pod(t, "life", 3000, exporter.Replay([]byte("a 1\n")))
	b := pod(t, "life", 3001, exporter.Replay([]byte("b 1\n")))
	createPods(t, a, b)
	wantTargets(t, proxy, a.Name, b.Name)

	// Change the path, then the port to one without a listener, then opt out, then remove all
	// annotations. Restore the annotations after each change.
	annotations := maps.Clone(a.Annotations)
	annotations["prometheus.io/path"] = "/other?x=1"
	must(t, cluster.SetPodAnnotations(ctx, a.Namespace, a.Name, annotations))
	wantTargets(t, proxy, a.Name, b.Name)
	annotations["prometheus.io/port"] = "1"
	must(t, cluster.SetPodAnnotations(ctx, a.Namespace, a.Name, annotations))
	eventually(t, func() error {
		_, response := get(t, proxy.URL("/metrics"), nil)
		if want := map[string]bool{a.Name: false, b.Name: true}; !maps.Equal(ups(response), want) {
			return fmt.Errorf("targets are %v, want %v", ups(response), want)
		}
		return nil
	})
	must(t, cluster.SetPodAnnotations(ctx, a.Namespace, a.Name, a.Annotations))
	wantTargets(t, proxy, a.Name, b.Name)
	annotations = maps.Clone(a.Annotations)
	annotations["prometheus.io/scrape"] = "false"
	for _, none := range []map[string]string{annotations, nil} {
		must(t, cluster.SetPodAnnotations(ctx, a.Namespace, a.Name, none))
		wantTargets(t, proxy, b.Name)
		must(t, cluster.SetPodAnnotations(ctx, a.Namespace, a.Name, a.Annotations))
		wantTargets(t, proxy, a.Name, b.Name)
	}

	// A completed pod keeps its address, but is not a target.
	must(t, cluster.SetPodStatus(ctx, a.Namespace, a.Name, corev1.PodSucceeded, a.IPs...))
	wantTargets(t, proxy, b.Name)
	must(t, cluster.DeletePod(ctx, b.Namespace, b.Name))
	wantTargets(t, proxy)
}

func TestSelectorNamespacesAndNode(t *testing.T) {
	handler := exporter.Replay([]byte("a 1\n"))
	a := pod(t, "select", 3100, handler)
	a.Labels["tier"] = "web"
	a.NodeName = "node-1"
	b := pod(t, "select", 3101, handler)
	b.Labels["tier"], b.Labels["canary"] = "db", ""
	b.Namespace = "select-b"
	c := pod(t, "select", 3102, handler)
	createPods(t, a, b, c)
	for name, test := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"all":              {map[string]string{}, []string{a.Name, b.Name, c.Name}},
		"set":              {map[string]string{"POD_LABEL_SELECTOR": "test=select,tier in (web,db)"}, []string{a.Name, b.Name}},
		"absent":           {map[string]string{"POD_LABEL_SELECTOR": "test=select,!canary"}, []string{a.Name, c.Name}},
		"one namespace":    {map[string]string{"NAMESPACES": "select-b"}, []string{b.Name}},
		"two namespaces":   {map[string]string{"NAMESPACES": "select, select-b"}, []string{a.Name, b.Name, c.Name}},
		"node":             {map[string]string{"NODE_NAME": "node-1"}, []string{a.Name}},
		"node without any": {map[string]string{"NODE_NAME": "node-2"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			wantTargets(t, startProxy(t, "select", test.env), test.want...)
		})
	}
}

func TestTargetLabels(t *testing.T) {
	p := pod(t, "labels", 3200, exporter.Replay([]byte("a{node=\"mine\"} 1\n")))
	p.Labels["app.kubernetes.io/name"] = "web"
	p.Annotations["example.com/team"] = `"x\y`
	p.NodeName = "node-1"
	createPods(t, p)
	proxy := startProxy(t, "labels", map[string]string{
		"TARGET_LABELS": "pod=pod,node=node,ip=ip,app=label:app.kubernetes.io/name,team=annotation:example.com/team,none=label:none",
	})
	_, response := get(t, proxy.URL("/metrics"), nil)
	want := fmt.Sprintf(`a{pod="%s",node="node-1",ip="%s",app="web",team="\"x\\y",exported_node="mine"} 1`, p.Name, p.IPs[0])
	if !strings.Contains(response, want) {
		t.Errorf("no %s in\n%s", want, response)
	}
}

// TestListWithoutWatch checks that the proxy lists pods periodically if it may not watch them,
// like a Juju application that is not trusted.
func TestListWithoutWatch(t *testing.T) {
	user, err := shared.cluster.NewUser(t.Context(), "lister", testbed.Grant{Rules: testbed.PodRules("get", "list", "patch")})
	if err != nil {
		t.Fatal(err)
	}
	config, err := shared.cluster.Kubeconfig(user, "")
	if err != nil {
		t.Fatal(err)
	}
	proxy := startProxy(t, "list", map[string]string{"KUBECONFIG": config, "CACHE_UPDATE_INTERVAL": "1"})
	wantTargets(t, proxy)
	p := pod(t, "list", 3300, exporter.Replay([]byte("a 1\n")))
	createPods(t, p)
	wantTargets(t, proxy, p.Name)
	must(t, shared.cluster.DeletePod(t.Context(), p.Namespace, p.Name))
	wantTargets(t, proxy)
	if n := strings.Count(proxy.Log(), "cannot watch pods"); n != 1 {
		t.Errorf("the missing permission to watch is logged %d times, want once", n)
	}
}

// TestRoleIsSufficient checks that the proxy needs only a Role in each of NAMESPACES.
func TestRoleIsSufficient(t *testing.T) {
	a := pod(t, "role", 3500, exporter.Replay([]byte("a 1\n")))
	b := pod(t, "role", 3501, exporter.Replay([]byte("a 1\n")))
	b.Namespace = "role-other"
	createPods(t, a, b)
	user, err := shared.cluster.NewUser(t.Context(), "role", testbed.Grant{Namespace: "role", Rules: testbed.PodRules("get", "list", "watch")})
	must(t, err)
	config, err := shared.cluster.Kubeconfig(user, "")
	must(t, err)
	wantTargets(t, startProxy(t, "role", map[string]string{"KUBECONFIG": config, "NAMESPACES": "role"}), a.Name)
}

func TestForbiddenIsNotReady(t *testing.T) {
	user, err := shared.cluster.NewUser(t.Context(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	config, err := shared.cluster.Kubeconfig(user, "")
	if err != nil {
		t.Fatal(err)
	}
	proxy := startProxyWith(t, testbed.ProxyOptions{NoWait: true, Env: map[string]string{"KUBECONFIG": config}}, "forbidden")
	eventually(t, func() error { return listens(proxy.Address()) })
	eventually(t, func() error {
		status, body := get(t, proxy.URL("/-/ready"), nil)
		if status != http.StatusServiceUnavailable || !strings.Contains(body, `cannot list resource "pods"`) {
			return fmt.Errorf("/-/ready returns %d %s", status, body)
		}
		return nil
	})
	if status, body := get(t, proxy.URL("/metrics"), nil); status != http.StatusServiceUnavailable || !strings.Contains(body, `cannot list resource "pods"`) {
		t.Errorf("/metrics returns %d %s", status, body)
	}
}

// TestNotReadyBeforeFirstList checks that /metrics returns 503 until the first list of pods is
// complete. An empty response would mark all series as stale.
func TestNotReadyBeforeFirstList(t *testing.T) {
	p := pod(t, "early", 3400, exporter.Replay([]byte("a 1\n")))
	createPods(t, p)
	gate, open := startGate(t, strings.TrimPrefix(shared.cluster.Server, "https://"))
	config, err := shared.cluster.Kubeconfig(shared.cluster.Proxy, "https://"+gate)
	if err != nil {
		t.Fatal(err)
	}
	proxy := startProxyWith(t, testbed.ProxyOptions{NoWait: true, Env: map[string]string{"KUBECONFIG": config}}, "early")
	eventually(t, func() error { return listens(proxy.Address()) })
	for path, want := range map[string]int{"/-/healthy": 200, "/-/ready": 503, "/metrics": 503} {
		if status, body := get(t, proxy.URL(path), nil); status != want {
			t.Errorf("%s returns %d %s, want %d", path, status, body, want)
		}
	}
	wantOwnMetric(t, proxy, "metrics_proxy_discovery_ready 0")
	close(open)
	eventually(t, func() error {
		if status, body := get(t, proxy.URL("/-/ready"), nil); status != 200 {
			return fmt.Errorf("/-/ready returns %d %s", status, body)
		}
		return nil
	})
	wantTargets(t, proxy, p.Name)
	wantOwnMetric(t, proxy, "metrics_proxy_discovery_ready 1")
	wantOwnMetric(t, proxy, "metrics_proxy_discovery_targets 1")
}

// startGate accepts connections immediately, and forwards them to address once open is closed.
func startGate(t *testing.T, address string) (gate string, open chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	open = make(chan struct{})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				<-open
				out, err := net.Dial("tcp", address)
				if err != nil {
					_ = in.Close()
					return
				}
				go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
				_, _ = io.Copy(in, out)
				_ = in.Close()
			}()
		}
	}()
	return l.Addr().String(), open
}

func listens(address string) error {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
