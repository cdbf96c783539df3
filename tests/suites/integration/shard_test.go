package integration

import (
	"fmt"
	"maps"
	"os/exec"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// TestShards checks that each pod is scraped by exactly one proxy, and that an additional shard
// only takes pods from the others.
func TestShards(t *testing.T) {
	const pods = 60
	var all []testbed.Pod
	for i := range pods {
		all = append(all, pod(t, "shards", 6200+i, exporter.Replay([]byte("a 1\n"))))
	}
	createPods(t, all...)
	shardsOf := func(count int) map[string]int {
		shards := map[string]int{}
		for index := range count {
			proxy := startProxy(t, "shards", map[string]string{"SHARD_COUNT": fmt.Sprint(count), "SHARD_INDEX": fmt.Sprint(index)})
			_, response := get(t, proxy.URL("/metrics"), nil)
			if len(ups(response)) == 0 { // happens by chance once in millions of runs
				t.Errorf("shard %d of %d has no pods", index, count)
			}
			for name, up := range ups(response) {
				if before, duplicate := shards[name]; duplicate || !up {
					t.Errorf("%s is in shards %d and %d, or down (up: %t)", name, before, index, up)
				}
				shards[name] = index
			}
		}
		if len(shards) != pods {
			t.Errorf("%d of %d pods are in the %d shards", len(shards), pods, count)
		}
		return shards
	}
	before, moved := shardsOf(3), 0
	for name, shard := range shardsOf(4) {
		if shard != before[name] {
			moved++
			if shard != 3 {
				t.Errorf("%s moved from shard %d to %d", name, before[name], shard)
			}
		}
	}
	if moved == 0 || moved > pods/2 {
		t.Errorf("%d of %d pods moved, want about a quarter", moved, pods)
	}
}

// TestShardByHostName checks that SHARD_INDEX=auto takes the index from the host name, as in a
// StatefulSet.
func TestShardByHostName(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	if err != nil || exec.Command(unshare, "--uts", "hostname", "proxy-1").Run() != nil {
		t.Skip("cannot set the host name of a process on this machine")
	}
	var all []testbed.Pod
	for i := range 20 {
		all = append(all, pod(t, "ordinal", 6400+i, exporter.Replay([]byte("a 1\n"))))
	}
	createPods(t, all...)
	start := func(options testbed.ProxyOptions) map[string]bool {
		env := map[string]string{"SHARD_COUNT": "2", "KUBECONFIG": kubeconfig(t), "POD_LABEL_SELECTOR": "test=ordinal"}
		maps.Copy(env, options.Env)
		options.Env = env
		proxy, err := shared.bed.StartProxy(t.Context(), options)
		must(t, err)
		t.Cleanup(func() { _, _ = proxy.Stop() })
		_, response := get(t, proxy.URL("/metrics"), nil)
		return ups(response)
	}
	byName := start(testbed.ProxyOptions{
		Binary: unshare, Args: []string{"--uts", "sh", "-c", `hostname proxy-1 && exec "$0"`, shared.binary},
		Env: map[string]string{"SHARD_INDEX": "auto"},
	})
	byIndex := start(testbed.ProxyOptions{Binary: shared.binary, Env: map[string]string{"SHARD_INDEX": "1"}})
	if !maps.Equal(byName, byIndex) || len(byName) == 0 || len(byName) == len(all) {
		t.Errorf("with host name proxy-1 the pods are %v, with SHARD_INDEX=1 %v", byName, byIndex)
	}
}
