package testbed_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

func TestCluster(t *testing.T) {
	bed := newBed(t)
	cluster, err := bed.StartCluster(t.Context(), testbed.ClusterOptions{EtcdMetrics: testbed.Address(0) + ":0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("pods", func(t *testing.T) { checkPods(t, cluster) })
	t.Run("a thousand pods", func(t *testing.T) { checkThousandPods(t, cluster) })
	t.Run("users", func(t *testing.T) { checkUsers(t, cluster) })
	t.Run("restart", func(t *testing.T) {
		if err := errors.Join(cluster.StopServer(), cluster.StartServer(t.Context())); err != nil {
			t.Fatal(err)
		}
		if _, err := cluster.Client.CoreV1().Pods("one").Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
			t.Errorf("cannot get the pod after the restart: %v", err)
		}
	})
	stopAndCheck(t, bed)
}

func checkPods(t *testing.T, cluster *testbed.Cluster) {
	ctx := t.Context()
	pod := testbed.Pod{
		Namespace: "one", Name: "a", Labels: map[string]string{"app": "x"}, NodeName: "node-1",
		Annotations: testbed.ScrapeAnnotations(8080, "/m"), IPs: []string{testbed.Address(1), "::1"},
	}
	if err := cluster.CreatePods(ctx, pod, testbed.Pod{Namespace: "two", Name: "b"}); err != nil {
		t.Fatal(err)
	}
	pods := cluster.Client.CoreV1().Pods("one")
	got, err := pods.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	status := got.Status
	if status.Phase != corev1.PodRunning || status.PodIP != "127.10.0.2" || len(status.PodIPs) != 2 {
		t.Errorf("the status is %s %s %v", status.Phase, status.PodIP, status.PodIPs)
	}
	if got.Annotations["prometheus.io/port"] != "8080" || got.Labels["app"] != "x" || got.Spec.NodeName != "node-1" {
		t.Errorf("the pod is %+v", got)
	}

	err = errors.Join(
		cluster.SetPodAnnotations(ctx, "one", "a", map[string]string{"other": "y"}),
		cluster.TerminatePod(ctx, "one", "a"),
		cluster.SetPodStatus(ctx, "one", "a", corev1.PodSucceeded),
		cluster.DeletePod(ctx, "two", "b"),
	)
	if err != nil {
		t.Fatal(err)
	}
	got, err = pods.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Annotations) != 1 || got.Status.Phase != corev1.PodSucceeded || got.Status.PodIP != "" ||
		len(got.Status.PodIPs) != 0 || got.DeletionTimestamp == nil {
		t.Errorf("after the changes the pod is %+v", got)
	}
	if _, err := cluster.Client.CoreV1().Pods("two").Get(ctx, "b", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get of the deleted pod: error %v, want not found", err)
	}
}

func checkThousandPods(t *testing.T, cluster *testbed.Cluster) {
	pods := make([]testbed.Pod, 1000)
	for i := range pods {
		pods[i] = testbed.Pod{
			Namespace: "many", Name: fmt.Sprintf("pod-%d", i),
			Annotations: testbed.ScrapeAnnotations(80, ""), IPs: []string{testbed.Address(i)},
		}
	}
	start := time.Now()
	if err := cluster.CreatePods(t.Context(), pods...); err != nil {
		t.Fatal(err)
	}
	t.Logf("created 1000 pods in %s", time.Since(start).Round(time.Millisecond))
	list, err := cluster.Client.CoreV1().Pods("many").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1000 {
		t.Errorf("%d pods, error %v", len(list.Items), err)
	}
}

func checkUsers(t *testing.T, cluster *testbed.Cluster) {
	lister, err := cluster.NewUser(t.Context(), "lister", testbed.Grant{Namespace: "one", Rules: testbed.PodRules("list")})
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := cluster.NewUser(t.Context(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name                       string
		user                       testbed.User
		listOne, listAll, watchOne bool
		createOne                  bool
	}{
		{name: "admin", user: cluster.Admin, listOne: true, listAll: true, watchOne: true, createOne: true},
		{name: "proxy", user: cluster.Proxy, listOne: true, listAll: true, watchOne: true},
		{name: "lister", user: lister, listOne: true},
		{name: "nobody", user: nobody},
	} {
		client := clientOf(t, cluster, test.user)
		ctx, one := t.Context(), client.CoreV1().Pods("one")
		_, listOne := one.List(ctx, metav1.ListOptions{})
		_, listAll := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		watcher, watchOne := one.Watch(ctx, metav1.ListOptions{})
		if watchOne == nil {
			watcher.Stop()
		}
		_, createOne := one.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "of-" + test.name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "none"}}},
		}, metav1.CreateOptions{})
		for _, got := range []struct {
			what    string
			err     error
			allowed bool
		}{
			{"list in one", listOne, test.listOne}, {"list all", listAll, test.listAll},
			{"watch in one", watchOne, test.watchOne}, {"create in one", createOne, test.createOne},
		} {
			if got.allowed != (got.err == nil) || !got.allowed && !apierrors.IsForbidden(got.err) {
				t.Errorf("%s: %s: error %v, want allowed %t", test.name, got.what, got.err, got.allowed)
			}
		}
	}
}

func clientOf(t *testing.T, cluster *testbed.Cluster, user testbed.User) *kubernetes.Clientset {
	t.Helper()
	path, err := cluster.Kubeconfig(user, "")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(config)
}

func TestPrometheusScrapesNodeExporter(t *testing.T) {
	bed := newBed(t)
	exporter, err := bed.StartNodeExporter(t.Context(), testbed.Address(2))
	if err != nil {
		t.Fatal(err)
	}
	prometheus, err := bed.StartPrometheus(t.Context(), testbed.PrometheusOptions{Config: `
scrape_configs:
- job_name: node
  scrape_interval: 1s
  static_configs: [{targets: ["` + exporter.Address + `"]}]
`})
	if err != nil {
		t.Fatal(err)
	}
	samples, err := prometheus.WaitFor(t.Context(), `up{job="node"}`, 30*time.Second, func(samples []testbed.Sample) bool {
		return len(samples) == 1 && samples[0].Value == 1
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := samples[0].Labels["instance"]; got != exporter.Address {
		t.Errorf("instance is %q, want %q", got, exporter.Address)
	}
	if _, err := prometheus.Query(t.Context(), "up{"); err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("malformed query: error %v", err)
	}
	payload, err := bed.NodeExporterPayload(t.Context())
	if err != nil || !bytes.Contains(payload, []byte("\nnode_load1 ")) {
		t.Errorf("payload of %d bytes, error %v", len(payload), err)
	}
	stopAndCheck(t, bed)
}

func TestAddress(t *testing.T) {
	seen := map[string]bool{}
	for n := range 65024 {
		address := testbed.Address(n)
		if seen[address] || !strings.HasPrefix(address, "127.10.") ||
			strings.HasSuffix(address, ".0") || strings.HasSuffix(address, ".255") {
			t.Fatalf("Address(%d) is %s", n, address)
		}
		seen[address] = true
	}
}

func newBed(t *testing.T) *testbed.Bed {
	t.Helper()
	bed, err := testbed.New(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bed.Stop() })
	return bed
}

// stopAndCheck stops the bed and checks that no process and no file remains.
func stopAndCheck(t *testing.T, bed *testbed.Bed) {
	t.Helper()
	if err := bed.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(bed.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of the bed still exists (error %v)", err)
	}
	paths, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if dir, _ := os.Readlink(path); strings.HasPrefix(dir, bed.Dir) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			t.Errorf("still running: %q", command)
		}
	}
	if _, err := bed.Start(testbed.Command{Name: "late", Path: "/bin/true"}); err == nil {
		t.Error("no error for Start after Stop")
	}
}
