package integration

import (
	"fmt"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// Proxies share the pods: each pod is asked by one of them, and with one proxy more only
// those change that it gets.
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
			_, answer := get(t, proxy.URL("/metrics"), nil)
			for name, up := range ups(answer) {
				if before, twice := shards[name]; twice || !up {
					t.Errorf("%s is in shards %d and %d, up: %t", name, before, index, up)
				}
				shards[name] = index
			}
		}
		if len(shards) != pods {
			t.Errorf("%d of %d pods are in one of %d shards", len(shards), pods, count)
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
