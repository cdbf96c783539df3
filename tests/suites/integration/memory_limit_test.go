package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// Where bodies that have nothing in common do not fit, the last targets are down and
// the others served, the same ones each time, and the process keeps to its limit.
func TestMemoryLimit(t *testing.T) {
	const pods, limitMiB = 40, 64
	var all []testbed.Pod
	for i := range pods {
		p := pod(t, "memory", 3000+i, exporter.Replay(noise(uint64(i))))
		p.Name = fmt.Sprintf("pod-%02d", i)
		all = append(all, p)
	}
	createPods(t, all...)
	proxy := startProxy(t, "memory", map[string]string{"MEMORY_LIMIT": fmt.Sprintf("%dMiB", limitMiB), "SCRAPE_TIMEOUT": "30s"})
	shed := 0
	for scrape := range 5 {
		status, answer := get(t, proxy.URL("/metrics"), nil)
		if status != 200 {
			t.Fatalf("status %d: %.200s", status, answer)
		}
		up := ups(answer)
		n := 0
		for n < pods && up[all[n].Name] {
			n++
		}
		for i, p := range all {
			if samples := countSamples(answer, p.Name); up[p.Name] != (i < n) || up[p.Name] && samples != noiseLines+1 || !up[p.Name] && samples != 1 {
				t.Errorf("scrape %d, pod %d: up %v with %d samples, where the first %d are served", scrape, i, up[p.Name], samples, n)
			}
		}
		if n == 0 || n == pods {
			t.Errorf("scrape %d: %d of %d pods are served, want some", scrape, n, pods)
		}
		shed += pods - n
	}
	wantOwnMetric(t, proxy, fmt.Sprintf(`metrics_proxy_target_scrapes_total{reason="memory"} %d`, shed))
	if !strings.Contains(proxy.Process.Stderr(), "MEMORY_LIMIT would be exceeded") {
		t.Error("the log does not say that targets are shed")
	}
	if peak := memoryMiB(t, proxy.Process.PID(), "VmHWM"); peak > limitMiB {
		t.Errorf("the process took %d MiB, its limit is %d MiB", peak, limitMiB)
	}
}

// A pod with a body of 30 MB, which is as large as one may be, and does not fit, is down
// itself, and costs no other pod its samples, on however many cores.
func TestMemoryLimitAndAHog(t *testing.T) {
	const pods, limitMiB = 100, 128
	var body bytes.Buffer
	for i := 0; body.Len() < 30<<20; i++ {
		fmt.Fprintf(&body, "m%d{a=\"b\"} 1\n", i)
	}
	hog := pod(t, "hog", 3900, exporter.Replay(body.Bytes()))
	hog.Name = "a-hog" // the first
	all := []testbed.Pod{hog}
	for i := range pods {
		all = append(all, pod(t, "hog", 3901+i, exporter.Replay(shared.payload)))
	}
	createPods(t, all...)
	for _, cores := range []string{"2", "32"} {
		proxy := startProxy(t, "hog", map[string]string{"MEMORY_LIMIT": fmt.Sprintf("%dMiB", limitMiB), "SCRAPE_TIMEOUT": "30s", "GOMAXPROCS": cores})
		for scrape := range 4 {
			_, answer := get(t, proxy.URL("/metrics"), nil)
			up := ups(answer)
			for _, p := range all {
				if isUp, known := up[p.Name]; !known || isUp == (p.Name == hog.Name) {
					t.Errorf("with %s cores, scrape %d, %s is up: %v, %v", cores, scrape, p.Name, isUp, known)
				}
			}
		}
		wantOwnMetric(t, proxy, `metrics_proxy_target_scrapes_total{reason="memory"} 4`)
		if peak := memoryMiB(t, proxy.Process.PID(), "VmHWM"); peak > limitMiB {
			t.Errorf("with %s cores the process took %d MiB, its limit is %d MiB", cores, peak, limitMiB)
		}
	}
}

const noiseLines = 1000

// noise is a body of 1 MB that has nothing in common with others.
func noise(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	var body bytes.Buffer
	fmt.Fprintln(&body, "# TYPE noise gauge")
	filler := make([]byte, 1000)
	for i := range noiseLines {
		for j := range filler {
			filler[j] = 'a' + byte(rng.IntN(26))
		}
		fmt.Fprintf(&body, "noise{i=\"%d\",filler=%q} %d\n", i, filler, i)
	}
	return body.Bytes()
}

// memoryMiB is a field of /proc/PID/status: VmRSS is the memory that a process has resident
// now, VmHWM the most that it has had.
func memoryMiB(t testing.TB, pid int, field string) (size int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, line, _ := strings.Cut(string(status), field+":")
	if _, err := fmt.Sscan(line, &size); err != nil {
		t.Fatal(err)
	}
	return size / 1024
}

// Without MEMORY_LIMIT it is 80 % of what the container allows.
func TestMemoryLimitOfTheContainer(t *testing.T) {
	procs := limitedCgroup(t, 200<<20)
	command := exec.CommandContext(t.Context(), "sh", "-c", `echo $$ > "$1" && exec "$2" scrape`, "sh", procs, shared.binary)
	command.Env = []string{"KUBECONFIG=" + kubeconfig(t), "POD_LABEL_SELECTOR=test=nothing"}
	out, err := command.CombinedOutput()
	if want := fmt.Sprintf("bytes=%d", 160<<20); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v, and the log has no %s:\n%s", err, want, out)
	}
}

// limitedCgroup makes a cgroup with a memory limit, and returns the file that takes
// the processes.
func limitedCgroup(t *testing.T, limit int) (procs string) {
	t.Helper()
	for parent, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(parent, fmt.Sprintf("metrics-proxy-test-%d", os.Getpid()))
		if os.Mkdir(dir, 0o700) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0o600) == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	t.Skip("no cgroup can be made here")
	return ""
}
