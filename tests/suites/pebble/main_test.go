package pebble

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// rig holds what all tests share: one cluster, the program under test, and the versions of
// Pebble.
type rig struct {
	bed        *testbed.Bed
	cluster    *testbed.Cluster
	kubeconfig string
	path       string // directory of metrics-proxy, the value of PATH
	pebbles    []pebble
}

// pebble is a version of Pebble.
type pebble struct{ version, binary string }

var shared rig

func TestMain(m *testing.M) {
	testbed.RunTests(m, func(ctx context.Context, bed *testbed.Bed) error {
		shared.bed = bed
		binary, err := bed.BuildProxy(ctx, testbed.ProxyBuild{})
		if err != nil {
			return err
		}
		shared.path = filepath.Dir(binary)
		for _, version := range []string{"1.32", "1.26"} {
			binary, err := testbed.Binary(ctx, "pebble-"+version, os.Stderr)
			if err != nil {
				return err
			}
			shared.pebbles = append(shared.pebbles, pebble{version, binary})
		}
		if shared.cluster, err = bed.StartCluster(ctx, testbed.ClusterOptions{}); err != nil {
			return err
		}
		shared.kubeconfig, err = shared.cluster.Kubeconfig(shared.cluster.Proxy, "")
		return err
	})
}

// withEachPebble runs the test with each version of Pebble, in parallel.
func withEachPebble(t *testing.T, test func(t *testing.T, p pebble)) {
	for _, p := range shared.pebbles {
		t.Run(p.version, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}
