package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
)

var cgroups atomic.Int64

// LimitedCgroup creates a cgroup with a memory limit in bytes, and returns the path of its
// cgroup.procs. It skips the test where it cannot create one.
func LimitedCgroup(t testing.TB, limit int) (procs string) {
	t.Helper()
	for parent, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(parent, fmt.Sprintf("metrics-proxy-test-%d-%d", os.Getpid(), cgroups.Add(1)))
		if os.Mkdir(dir, 0o700) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0o600) == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	t.Skip("cannot create a cgroup on this machine")
	return ""
}
