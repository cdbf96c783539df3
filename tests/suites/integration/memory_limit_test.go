package integration

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// TestMemoryLimit checks that, if bodies without common series do not fit, some targets are
// dropped, always in the same order once their sizes are known, and the process stays within its
// limit. How many are dropped may vary.
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
	dropped := 0
	var served []map[string]bool // by scrape
	for scrape := range 6 {
		status, response := get(t, proxy.URL("/metrics"), nil)
		if status != 200 {
			t.Fatalf("status %d: %.200s", status, response)
		}
		up := ups(response)
		n := 0
		for i, p := range all {
			if samples := countSamples(response, p.Name); up[p.Name] && samples != noiseLines+1 || !up[p.Name] && samples != 1 {
				t.Errorf("scrape %d, pod %d: up %v with %d samples", scrape, i, up[p.Name], samples)
			}
			if up[p.Name] {
				n++
			}
		}
		if n == 0 || n == pods {
			t.Errorf("scrape %d: %d of %d pods are up, want some but not all", scrape, n, pods)
		}
		maps.DeleteFunc(up, func(_ string, isUp bool) bool { return !isUp })
		for i, earlier := range served[min(2, len(served)):] {
			fewer, more := up, earlier
			if len(up) > len(earlier) {
				fewer, more = earlier, up
			}
			for name := range fewer {
				if !more[name] {
					t.Errorf("scrape %d: up are %v, want some of those of scrape %d, or those and others: %v", scrape, up, i+2, earlier)
				}
			}
		}
		served = append(served, up)
		dropped += pods - n
	}
	wantOwnMetric(t, proxy, fmt.Sprintf(`metrics_proxy_target_scrapes_total{reason="memory"} %d`, dropped))
	if !strings.Contains(proxy.Process.Stderr(), "MEMORY_LIMIT would be exceeded") {
		t.Error("the log does not report dropped targets")
	}
	if peak := memoryMiB(t, proxy.Process.PID(), "VmHWM"); peak > limitMiB {
		t.Errorf("the process used %d MiB, its limit is %d MiB", peak, limitMiB)
	}
}

// TestMemoryLimitWithHog checks that a pod with a body of 30 MiB, which is within
// BODY_SIZE_LIMIT but does not fit, is the only one that is dropped, on any number of cores.
func TestMemoryLimitWithHog(t *testing.T) {
	const pods, limitMiB = 100, 128
	var body bytes.Buffer
	for i := 0; body.Len() < 30<<20; i++ {
		fmt.Fprintf(&body, "m{i=\"%d\"} 1\n", i)
	}
	hog := pod(t, "hog", 3900, exporter.Replay(body.Bytes()))
	hog.Name = "a-hog" // the first by name
	all := []testbed.Pod{hog}
	for i := range pods {
		all = append(all, pod(t, "hog", 3901+i, exporter.Replay(shared.payload)))
	}
	createPods(t, all...)
	for _, cores := range []string{"2", "32"} {
		proxy := startProxy(t, "hog", map[string]string{"MEMORY_LIMIT": fmt.Sprintf("%dMiB", limitMiB), "SCRAPE_TIMEOUT": "30s", "GOMAXPROCS": cores})
		for scrape := range 4 {
			_, response := get(t, proxy.URL("/metrics"), nil)
			up := ups(response)
			for _, p := range all {
				if isUp, known := up[p.Name]; !known || isUp == (p.Name == hog.Name) {
					t.Errorf("with %s cores, scrape %d, %s is up: %v (exposed: %v)", cores, scrape, p.Name, isUp, known)
				}
			}
		}
		wantOwnMetric(t, proxy, `metrics_proxy_target_scrapes_total{reason="memory"} 4`)
		if peak := memoryMiB(t, proxy.Process.PID(), "VmHWM"); peak > limitMiB {
			t.Errorf("with %s cores the process used %d MiB, its limit is %d MiB", cores, peak, limitMiB)
		}
	}
}

const noiseLines = 1000

// noise returns a body of 1 MB that has no series in common with other seeds.
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

// memoryMiB returns a field of /proc/PID/status, in MiB. VmRSS is the current resident memory
// of the process, VmHWM its peak.
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

// TestMemoryLimitOfContainer checks that the default of MEMORY_LIMIT is 80 % of the container's
// limit.
func TestMemoryLimitOfContainer(t *testing.T) {
	procs := testbed.LimitedCgroup(t, 200<<20)
	command := exec.CommandContext(t.Context(), "sh", "-c", `echo $$ > "$1" && exec "$2" scrape`, "sh", procs, shared.binary)
	command.Env = []string{"KUBECONFIG=" + kubeconfig(t), "POD_LABEL_SELECTOR=test=nothing"}
	out, err := command.CombinedOutput()
	if want := fmt.Sprintf("bytes=%d", 160<<20); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("error %v, or no %s in the log:\n%s", err, want, out)
	}
}
