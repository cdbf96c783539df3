package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// TestRockServes checks that the container serves as a non-root user, configured with -e, and
// also with a read-only file system and without capabilities.
func TestRockServes(t *testing.T) {
	a, b := podWithSample(t, "rock", 6500), podWithSample(t, "rock", 6501)
	createPods(t, a, b)
	for name, options := range map[string][]string{
		"default": nil,
		"restricted": {
			"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
			"--tmpfs", "/pebble:mode=1777", "-e", "PEBBLE=/pebble", "-e", "PEBBLE_COPY_ONCE=/var/lib/pebble/default",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := runRock(t, "rock", append(rockKubeconfig(t), options...))
			wantContainerSamples(t, c, a.Name, b.Name)
			wantOwnMetric(t, c.Proxy, "metrics_proxy_discovery_targets 2")
			status, err := os.ReadFile("/proc/" + docker(t, "inspect", "--format", "{{.State.Pid}}", c.id) + "/status")
			must(t, err)
			if want := fmt.Sprintf("Uid:\t%d\t", rockUser); !bytes.Contains(status, []byte(want)) {
				t.Errorf("the container does not run as user %d:\n%s", rockUser, status)
			}
		})
	}
}

// TestRockWithPrivateKubeconfig checks that --user lets the container read a kubeconfig that
// only its owner can read.
func TestRockWithPrivateKubeconfig(t *testing.T) {
	p := podWithSample(t, "private", 6510)
	createPods(t, p)
	path := kubeconfig(t) // 0600, of this user
	options := []string{"-e", "KUBECONFIG=/kubeconfig", "-v", path + ":/kubeconfig:ro"}
	unreadable := runRock(t, "private", options)
	wantExit(t, unreadable, 10, "permission denied")
	c := runRock(t, "private", append(options, "--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())))
	wantContainerSamples(t, c, p.Name)
}

func TestRockInvalidConfiguration(t *testing.T) {
	c := runRock(t, "x", []string{"-e", "SCRAPE_TIMEOUT=soon"})
	wantExit(t, c, 10, `SCRAPE_TIMEOUT is "soon": expected a duration`)
}

// TestRockFinishesScrapes checks that docker stop lets a scrape in flight complete.
func TestRockFinishesScrapes(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p := pod(t, "stop", 6520, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(started) })
		<-release
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprint(w, sampleBy("late"))
	}))
	t.Cleanup(func() {
		select {
		case <-release:
		default:
			close(release)
		}
	})
	createPods(t, p)
	c := runRock(t, "stop", rockKubeconfig(t))
	c.waitReady(t)
	responses := make(chan string, 1)
	go func() {
		response, err := c.Metrics(context.Background())
		if err != nil {
			response = []byte(err.Error())
		}
		responses <- string(response)
	}()
	<-started
	stopped := make(chan error, 1)
	go func() { stopped <- exec.Command("docker", "stop", "--time", "40", c.id).Run() }()
	eventually(t, func() error { // it accepts no new connections
		if listens(c.Address()) == nil {
			return errors.New("the proxy still listens")
		}
		return nil
	})
	close(release)
	if response := <-responses; !strings.Contains(response, `by="late"} 1`) {
		t.Errorf("the scrape in flight returned\n%s", response)
	}
	must(t, <-stopped)
	wantExit(t, c, 0, "shutting down after the scrapes in flight")
}

// TestRockHealthCheckUsesPort checks that the health check connects to PORT.
func TestRockHealthCheckUsesPort(t *testing.T) {
	c := runRock(t, "check", rockKubeconfig(t))
	c.waitReady(t)
	if out := docker(t, "exec", c.id, "/usr/bin/pebble", "check", "metrics-proxy", "--refresh"); !strings.Contains(out, "status: up") || !strings.Contains(out, "failures: 0") {
		t.Errorf("the check reports\n%s", out)
	}
	out, err := exec.Command("docker", "exec", "-e", "PORT=1", c.id, "/bin/metrics-proxy", "healthcheck").CombinedOutput()
	if err == nil {
		t.Errorf("the health check succeeds on port 1: %s", out)
	}
}

// TestRockRestartsAfterCrash checks that a crash ends the container, so that Docker restarts it
// according to its restart policy.
func TestRockRestartsAfterCrash(t *testing.T) {
	p := podWithSample(t, "crash", 6530)
	createPods(t, p)
	c := runRock(t, "crash", append(rockKubeconfig(t), "--restart", "on-failure"))
	wantContainerSamples(t, c, p.Name)
	docker(t, "exec", c.id, "/usr/bin/pebble", "signal", "KILL", "metrics-proxy")
	eventually(t, func() error {
		if n := docker(t, "inspect", "--format", "{{.RestartCount}}", c.id); n != "1" {
			return fmt.Errorf("the container was restarted %s times, want once", n)
		}
		return listens(c.Address())
	})
	wantContainerSamples(t, c, p.Name)
}

// TestRockPublishesPort checks that a published port responds on Docker's default network,
// where the container cannot reach the API server.
func TestRockPublishesPort(t *testing.T) {
	port, err := testbed.FreePort()
	must(t, err)
	options := append(rockKubeconfig(t), "-e", "PORT=15090", "--publish", fmt.Sprintf("127.0.0.1:%d:15090", port))
	runRock(t, "x", options)
	wantOK(t, fmt.Sprintf("http://127.0.0.1:%d/-/healthy", port))
}

// TestRockUnderJujuPebble runs the rock under Juju's Pebble, which copies the rock's layer and
// does not start the service before a charm does. Until then the container must be healthy.
func TestRockUnderJujuPebble(t *testing.T) {
	p := podWithSample(t, "juju", 6540)
	createPods(t, p)
	for _, version := range []string{"1.32", "1.26"} {
		t.Run(version, func(t *testing.T) {
			health, err := testbed.FreePort()
			must(t, err)
			options := append(rockKubeconfig(t), jujuPebbleOptions(t, version)...)
			c := runRock(t, "juju", options, "run", "--create-dirs", "--hold", "--http", fmt.Sprintf(":%d", health), "--verbose")
			for _, level := range []string{"alive", "ready"} {
				wantOK(t, fmt.Sprintf("http://127.0.0.1:%d/v1/health?level=%s", health, level))
			}
			if out := docker(t, "exec", c.id, "/charm/bin/pebble", "services"); !strings.Contains(out, "inactive") {
				t.Errorf("the service is not inactive:\n%s", out)
			}
			docker(t, "exec", c.id, "/charm/bin/pebble", "replan")
			wantContainerSamples(t, c, p.Name)
		})
	}
}

// TestRockIsSmallAndReproducible checks the size of the image, and that a second build results
// in the same image.
func TestRockIsSmallAndReproducible(t *testing.T) {
	image := rock(t)
	size, err := strconv.Atoi(docker(t, "image", "inspect", "--format", "{{.Size}}", image))
	must(t, err)
	t.Logf("%d bytes uncompressed", size)
	if size >= 40_000_000 {
		t.Errorf("the image has %d bytes uncompressed, want less than 40 MB", size)
	}
	before := docker(t, "image", "inspect", "--format", "{{.Id}}", image)
	again := exec.Command("go", "run", "./cmd/rockimage", "-docker")
	again.Dir = "../.."
	if out, err := again.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the image again: %v\n%s", err, out)
	}
	if after := docker(t, "image", "inspect", "--format", "{{.Id}}", image); after != before {
		t.Errorf("the second build is image %s, the first %s", after, before)
	}
}

// TestReadmeQuickStartWithDocker runs the docker command of the README, with other ports and
// another selector.
func TestReadmeQuickStartWithDocker(t *testing.T) {
	rock(t)
	readme, err := os.ReadFile("../../../README.md")
	must(t, err)
	command := regexp.MustCompile(`(?s)    (docker run --detach --name metrics-proxy .*?metrics-proxy:[0-9.]+)\n`).FindSubmatch(readme)
	if command == nil {
		t.Fatal("the README has no command that runs the image")
	}
	p := podWithSample(t, "quick", 6550)
	createPods(t, p)
	port, err := testbed.FreePort()
	must(t, err)
	name := fmt.Sprintf("metrics-proxy-quick-%d", port)
	script := strings.NewReplacer(
		"--name metrics-proxy", fmt.Sprintf("--name %s --env ALLOW_RESERVED_TARGETS=true --env PORT=%d --env METRICS_HTTP_PORT=0", name, port), "app=ztunnel", "test=quick",
	).Replace(string(command[1]))
	home := t.TempDir()
	must(t, os.Mkdir(filepath.Join(home, ".kube"), 0o700))
	content, err := os.ReadFile(kubeconfig(t))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(home, ".kube", "config"), content, 0o600))
	run := exec.Command("bash", "-euc", script)
	run.Env = append(os.Environ(), "HOME="+home)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", name).Run() })
	wantContainerSamples(t, &container{testbed.ProxyAt(port, 0), name}, p.Name)
}

// BenchmarkRockStart measures the time from docker run to the first response of /-/healthy, and
// the memory of the container's processes: after the start, and after scrapes of 100 pods
// with the metrics of a node exporter.
func BenchmarkRockStart(b *testing.B) {
	var pods []testbed.Pod
	for i := range 100 {
		pods = append(pods, pod(b, "start", 6600+i, exporter.Replay(shared.payload)))
	}
	createPods(b, pods...)
	options := append(rockKubeconfig(b), "-e", "SCRAPE_TIMEOUT=30s")
	rock(b)
	var c *container
	for b.Loop() {
		c = runRock(b, "start", options)
		for listens(c.Address()) != nil {
			time.Sleep(time.Millisecond)
		}
		wantOK(b, c.URL("/-/healthy"))
	}
	c.waitReady(b)
	pebble, err := strconv.Atoi(docker(b, "inspect", "--format", "{{.State.Pid}}", c.id))
	must(b, err)
	child, err := exec.Command("pgrep", "--parent", strconv.Itoa(pebble)).Output()
	must(b, err)
	proxy, err := strconv.Atoi(strings.TrimSpace(string(child)))
	must(b, err)
	b.ReportMetric(float64(memoryMiB(b, pebble, "VmRSS")), "pebble-MiB")
	b.ReportMetric(float64(memoryMiB(b, proxy, "VmRSS")), "idle-MiB")
	for range 5 {
		if _, err := c.Metrics(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(memoryMiB(b, proxy, "VmRSS")), "loaded-MiB")
}
