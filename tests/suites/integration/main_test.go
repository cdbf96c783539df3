// Package integration tests the built program and its image with a real API server, real
// exporters and a real Prometheus.
package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// rig holds what all tests share: one cluster, and the program under test.
type rig struct {
	bed     *testbed.Bed
	cluster *testbed.Cluster
	binary  string
	payload []byte // body of a real node exporter
}

var shared rig

func TestMain(m *testing.M) {
	testbed.RunTests(m, func(ctx context.Context, bed *testbed.Bed) (err error) {
		shared.bed = bed
		if shared.binary, err = bed.BuildProxy(ctx, testbed.ProxyBuild{}); err != nil {
			return err
		}
		if shared.cluster, err = bed.StartCluster(ctx, testbed.ClusterOptions{}); err != nil {
			return err
		}
		shared.payload, err = bed.NodeExporterPayload(ctx)
		return err
	})
}

// kubeconfig writes a kubeconfig for a user that may only get, list and watch pods. It returns
// the path.
func kubeconfig(t testing.TB) string {
	t.Helper()
	path, err := shared.cluster.Kubeconfig(shared.cluster.Proxy, "")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// startProxy starts the program for the pods with the label test=NAME, and stops it when the
// test ends.
func startProxy(t testing.TB, name string, env map[string]string) *testbed.Proxy {
	t.Helper()
	return startProxyWith(t, testbed.ProxyOptions{Env: env}, name)
}

func startProxyWith(t testing.TB, options testbed.ProxyOptions, name string) *testbed.Proxy {
	t.Helper()
	env := map[string]string{"POD_LABEL_SELECTOR": "test=" + name}
	if _, given := options.Env["KUBECONFIG"]; !given {
		env["KUBECONFIG"] = kubeconfig(t)
	}
	for k, v := range options.Env {
		env[k] = v
	}
	options.Binary, options.Env = shared.binary, env
	proxy, err := shared.bed.StartProxy(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := proxy.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of the proxy:\n%s", proxy.Log())
		}
	})
	return proxy
}

// createPods creates pods, and deletes them when the test ends.
func createPods(t testing.TB, pods ...testbed.Pod) {
	t.Helper()
	if err := shared.cluster.CreatePods(t.Context(), pods...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range pods {
			_ = shared.cluster.DeletePod(context.Background(), p.Namespace, p.Name) // a test may have deleted it
		}
	})
}

// pod returns a running pod with the label test=TEST. Its exporter serves the handler. n must
// be unique, because it determines the address.
func pod(t testing.TB, test string, n int, handler http.Handler) testbed.Pod {
	t.Helper()
	address := testbed.Address(n)
	server, err := exporter.Start(address+":0", handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return testbed.Pod{
		Namespace: test, Name: fmt.Sprintf("%s-%d", test, n),
		Labels: map[string]string{"test": test}, IPs: []string{address},
		Annotations: testbed.ScrapeAnnotations(server.Port(), ""),
	}
}

// get sends a GET request and returns the status and the body.
func get(t testing.TB, url string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// eventually calls check until it returns nil. After a generous bound it fails the test with
// the last error.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	testbed.Eventually(t, 30*time.Second, check)
}

var upLine = regexp.MustCompile(`(?m)^up\{k8s_pod_name="([^"]+)",k8s_namespace="[^"]+"\} ([01])$`)

// ups returns the values of up in a response, by pod name.
func ups(response string) map[string]bool {
	up := map[string]bool{}
	for _, m := range upLine.FindAllStringSubmatch(response, -1) {
		up[m[1]] = m[2] == "1"
	}
	return up
}

// wantOwnMetric polls the proxy's own metrics until they contain a line.
func wantOwnMetric(t testing.TB, proxy *testbed.Proxy, line string) {
	t.Helper()
	eventually(t, func() error {
		own, err := proxy.OwnMetrics(t.Context())
		if err == nil && !strings.Contains("\n"+string(own), "\n"+line+"\n") {
			prefix, _, _ := strings.Cut(line, " ")
			err = fmt.Errorf("the own metrics have no line %q, but %q", line, regexp.MustCompile("(?m)^"+regexp.QuoteMeta(prefix)+".*$").FindString(string(own)))
		}
		return err
	})
}
