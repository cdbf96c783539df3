package pebble

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// rig is what all tests share: one cluster, the program under test, and Pebbles to run it.
type rig struct {
	bed        *testbed.Bed
	cluster    *testbed.Cluster
	kubeconfig string
	path       string   // a directory for PATH with metrics-proxy in it
	pebbles    []pebble // built of the modules
}

// pebble is one version of Pebble.
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
		for _, module := range []string{"v1.32", "v1.26"} {
			p, err := buildPebble(ctx, module)
			if err != nil {
				return err
			}
			shared.pebbles = append(shared.pebbles, p)
		}
		if shared.cluster, err = bed.StartCluster(ctx, testbed.ClusterOptions{}); err != nil {
			return err
		}
		shared.kubeconfig, err = shared.cluster.Kubeconfig(shared.cluster.Proxy, "")
		return err
	})
}

// buildPebble builds the daemon that the module in dir requires.
func buildPebble(ctx context.Context, dir string) (p pebble, err error) {
	const module = "github.com/canonical/pebble"
	if p.version, err = goTool(ctx, dir, "list", "-m", "-f", "{{.Version}}", module); err != nil {
		return p, err
	}
	p.binary = filepath.Join(shared.bed.Dir, "pebble-"+p.version)
	_, err = goTool(ctx, dir, "build", "-o", p.binary, module+"/cmd/pebble")
	return p, err
}

func goTool(ctx context.Context, dir string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot go %v in %s: %w\n%s", args, dir, err, output)
	}
	return strings.TrimSpace(string(output)), nil
}

// withEachPebble runs the test with each version of Pebble, at the same time.
func withEachPebble(t *testing.T, test func(t *testing.T, p pebble)) {
	for _, p := range shared.pebbles {
		t.Run(p.version, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}
