package testbed_test

import (
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// TestBinaryBuildsOnce requests a component that is not in the cache twice, concurrently.
func TestBinaryBuildsOnce(t *testing.T) {
	for _, name := range []string{"node_exporter", "prometheus-node-exporter"} {
		if path, err := exec.LookPath(name); err == nil {
			t.Skip("nothing to build: found " + path)
		}
	}
	compiled, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(compiled)))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("KUBEBUILDER_ASSETS", "")

	var paths, progress [2]string
	var callers sync.WaitGroup
	for i := range paths {
		callers.Go(func() {
			var out strings.Builder
			var err error
			if paths[i], err = testbed.Binary(t.Context(), "node_exporter", &out); err != nil {
				t.Error(err)
			}
			progress[i] = out.String()
		})
	}
	callers.Wait()
	if paths[0] != paths[1] {
		t.Errorf("the paths differ: %q", paths)
	}
	if all := progress[0] + progress[1]; strings.Count(all, "building ") != 1 || strings.Count(all, "built ") != 1 {
		t.Errorf("progress is %q, want one build", all)
	}
	if err := exec.Command(paths[0], "--version").Run(); err != nil {
		t.Error(err)
	}
}

func TestUnknownComponent(t *testing.T) {
	_, err := testbed.Binary(t.Context(), "kubelet", t.Output())
	if err == nil || !strings.Contains(err.Error(), `cannot find component "kubelet"`) {
		t.Errorf("error %v", err)
	}
}
