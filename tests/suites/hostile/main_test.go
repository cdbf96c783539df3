// Package hostile runs the built program with pods that try to take it down, beside good ones.
// docs/security.md lists what the tests show.
package hostile

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// goodPods is the number of good pods. Their namespace is the last one by name.
const goodPods = 20

var shared struct {
	bed     *testbed.Bed
	cluster *testbed.Cluster
	binary  string
	samples int // of each good pod, without up
}

func TestMain(m *testing.M) {
	testbed.RunTests(m, func(ctx context.Context, bed *testbed.Bed) (err error) {
		shared.bed = bed
		if shared.binary, err = bed.BuildProxy(ctx, testbed.ProxyBuild{}); err != nil {
			return err
		}
		if shared.cluster, err = bed.StartCluster(ctx, testbed.ClusterOptions{}); err != nil {
			return err
		}
		payload, err := bed.NodeExporterPayload(ctx)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(payload)) {
			if !strings.HasPrefix(line, "#") {
				shared.samples++
			}
		}
		var pods []testbed.Pod
		for i := range goodPods {
			pod, _, err := newPod("zzz-good", fmt.Sprintf("good-%02d", i), exporter.Replay(payload))
			if err != nil {
				return err
			}
			pods = append(pods, pod)
		}
		return shared.cluster.CreatePods(ctx, pods...)
	})
}

var addresses atomic.Int64

// newPod returns a pod whose exporter serves the handler. The pod has the label test=NAMESPACE.
func newPod(namespace, name string, handler http.Handler) (testbed.Pod, *exporter.Server, error) {
	address := testbed.Address(8000 + int(addresses.Add(1)))
	server, err := exporter.Start(address+":0", handler)
	if err != nil {
		return testbed.Pod{}, nil, err
	}
	return testbed.Pod{
		Namespace: namespace, Name: name, Labels: map[string]string{"test": namespace}, IPs: []string{address},
		Annotations: testbed.ScrapeAnnotations(server.Port(), ""),
	}, server, nil
}

// createPods creates the pods of a row, and deletes them when the test ends.
func createPods(t *testing.T, namespace string, annotations map[string]string, handlers []http.Handler) {
	t.Helper()
	var pods []testbed.Pod
	for i, handler := range handlers {
		pod, server, err := newPod(namespace, fmt.Sprintf("hostile-%02d", i), handler)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		maps.Copy(pod.Annotations, annotations)
		pods = append(pods, pod)
	}
	if err := shared.cluster.CreatePods(t.Context(), pods...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range pods {
			if err := shared.cluster.DeletePod(context.Background(), p.Namespace, p.Name); err != nil {
				t.Error(err)
			}
		}
	})
}

// startProxy starts the program in a cgroup with a memory limit, for the good pods and those of
// a namespace.
func startProxy(t *testing.T, namespace string, memory int, env map[string]string) *testbed.Proxy {
	t.Helper()
	kubeconfig, err := shared.cluster.Kubeconfig(shared.cluster.Proxy, "")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"KUBECONFIG": kubeconfig, "POD_LABEL_SELECTOR": "test in (zzz-good," + namespace + ")"}
	maps.Copy(all, env)
	procs := testbed.LimitedCgroup(t, memory)
	command := filepath.Join(t.TempDir(), "metrics-proxy")
	script := fmt.Sprintf("#!/bin/sh\necho $$ > %s && exec %s \"$@\"\n", procs, shared.binary)
	if err := os.WriteFile(command, []byte(script), 0o700); err != nil { //nolint:gosec // a script must be executable
		t.Fatal(err)
	}
	proxy, err := shared.bed.StartProxy(t.Context(), testbed.ProxyOptions{Binary: command, Env: all})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := proxy.Stop()
		if err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of the proxy:\n%.20000s", proxy.Log())
		}
	})
	return proxy
}
