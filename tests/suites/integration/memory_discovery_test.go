package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// TestMemoryOfManyPods checks that the proxy keeps only targets of pods, and at most one page of
// whole pods, whether it lists them with a watch or in pages.
func TestMemoryOfManyPods(t *testing.T) {
	const pods, maxPeak, maxLater = 5000, 64, 35
	ctx, cluster := t.Context(), shared.cluster
	var all []testbed.Pod
	for i := range pods {
		all = append(all, realisticPod("many", i))
	}
	must(t, cluster.CreatePods(ctx, all...))
	t.Cleanup(func() {
		err := cluster.Client.CoreV1().Pods("many").DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	one, err := cluster.Client.CoreV1().Pods("many").Get(ctx, all[0].Name, metav1.GetOptions{})
	must(t, err)
	if object, err := json.Marshal(one); err != nil || len(object) < 10_000 || len(object) > 12_000 {
		t.Fatalf("a pod has %d bytes, want 10,000 to 12,000", len(object))
	}
	user, err := cluster.NewUser(ctx, "pages", testbed.Grant{Rules: testbed.PodRules("list")})
	must(t, err)
	config, err := cluster.Kubeconfig(user, "")
	must(t, err)
	var proxies []*testbed.Proxy
	for _, env := range []map[string]string{{}, {"KUBECONFIG": config, "CACHE_UPDATE_INTERVAL": "10m"}} {
		proxy := startProxy(t, "many", env)
		proxies = append(proxies, proxy)
		wantOwnMetric(t, proxy, fmt.Sprintf("metrics_proxy_discovery_targets %d", pods))
	}
	time.Sleep(time.Minute)
	for i, how := range []string{"with a watch", "in pages"} {
		pid := proxies[i].Process.PID()
		peak, later := memoryMiB(t, pid, "VmHWM"), memoryMiB(t, pid, "VmRSS")
		t.Logf("%d pods, listed %s: peak %d MiB, a minute later %d MiB", pods, how, peak, later)
		if peak >= maxPeak || later >= maxLater {
			t.Errorf("listed %s, the process uses %d MiB at the peak and %d MiB a minute later, want less than %d and %d", how, peak, later, maxPeak, maxLater)
		}
	}
}

// realisticPod returns a pod of about 10 KB, the size of a pod with a sidecar and some
// configuration.
func realisticPod(test string, i int) testbed.Pod {
	p := testbed.Pod{
		Namespace: test, Name: fmt.Sprintf("%s-7c9f8d6b5-%05d", test, i), NodeName: "node-1", IPs: []string{testbed.Address(i)},
		Labels:      map[string]string{"test": test, "app.kubernetes.io/name": test, "pod-template-hash": "7c9f8d6b5"},
		Annotations: testbed.ScrapeAnnotations(9090, ""),
	}
	p.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = strings.Repeat(fmt.Sprintf(`{"apiVersion":"v1","i":%d},`, i), 100)
	for _, name := range []string{"main", "sidecar"} {
		c := corev1.Container{Name: name, Image: "registry.example.com/team/" + name + ":v1.2.3"}
		for j := range 15 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_NUMBER_%d", j), Value: strings.Repeat("value ", 10)})
		}
		p.Containers = append(p.Containers, c)
	}
	return p
}
