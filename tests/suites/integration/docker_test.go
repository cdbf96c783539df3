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

// It serves, as another user than root, from a file system that it cannot write to,
// without any capability, and with settings by -e.
func TestRockServes(t *testing.T) {
	a, b := podThatSays(t, "rock", 6500), podThatSays(t, "rock", 6501)
	createPods(t, a, b)
	for name, options := range map[string][]string{
		"as it is": nil,
		"locked up": {
			"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
			"--tmpfs", "/pebble:mode=1777", "-e", "PEBBLE=/pebble", "-e", "PEBBLE_COPY_ONCE=/var/lib/pebble/default",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := runRock(t, "rock", append(rockKubeconfig(t), options...))
			wantSaidBy(t, c, a.Name, b.Name)
			wantOwnMetric(t, c.Proxy, "metrics_proxy_discovery_targets 2")
			status, err := os.ReadFile("/proc/" + docker(t, "inspect", "--format", "{{.State.Pid}}", c.id) + "/status")
			must(t, err)
			if want := fmt.Sprintf("Uid:\t%d\t", rockUser); !bytes.Contains(status, []byte(want)) {
				t.Errorf("it does not run as user %d:\n%s", rockUser, status)
			}
		})
	}
}

// A file that only its owner may read is read with --user.
func TestRockAndPrivateKubeconfig(t *testing.T) {
	p := podThatSays(t, "private", 6510)
	createPods(t, p)
	path := kubeconfig(t) // 0600, of this user
	options := []string{"-e", "KUBECONFIG=/kubeconfig", "-v", path + ":/kubeconfig:ro"}
	refused := runRock(t, "private", options)
	wantEnd(t, refused, 10, "permission denied")
	c := runRock(t, "private", append(options, "--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())))
	wantSaidBy(t, c, p.Name)
}

func TestRockRefusesBadConfiguration(t *testing.T) {
	c := runRock(t, "x", []string{"-e", "SCRAPE_TIMEOUT=soon"})
	wantEnd(t, c, 10, `SCRAPE_TIMEOUT is "soon": expected a duration`)
}

// docker stop lets a scrape in flight be answered.
func TestRockFinishesScrapes(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p := pod(t, "stop", 6520, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(asked) })
		<-release
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprint(w, says("late"))
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
	answered := make(chan string, 1)
	go func() {
		answer, err := c.Metrics(context.Background())
		if err != nil {
			answer = []byte(err.Error())
		}
		answered <- string(answer)
	}()
	<-asked
	stopped := make(chan error, 1)
	go func() { stopped <- exec.Command("docker", "stop", "--time", "40", c.id).Run() }()
	eventually(t, func() error { // it takes no new ones
		if listens(c.Address()) == nil {
			return errors.New("it still listens")
		}
		return nil
	})
	close(release)
	if answer := <-answered; !strings.Contains(answer, `by="late"} 1`) {
		t.Errorf("the scrape in flight got\n%s", answer)
	}
	must(t, <-stopped)
	wantEnd(t, c, 0, "shutting down after the scrapes in flight")
}

// The check asks where PORT says.
func TestRockCheckFollowsThePort(t *testing.T) {
	c := runRock(t, "check", rockKubeconfig(t))
	c.waitReady(t)
	if out := docker(t, "exec", c.id, "/usr/bin/pebble", "check", "metrics-proxy", "--refresh"); !strings.Contains(out, "status: up") || !strings.Contains(out, "failures: 0") {
		t.Errorf("the check says\n%s", out)
	}
	out, err := exec.Command("docker", "exec", "-e", "PORT=1", c.id, "/bin/metrics-proxy", "healthcheck").CombinedOutput()
	if err == nil {
		t.Errorf("the health check finds something at port 1: %s", out)
	}
}

// A crash ends the container, which Docker starts again where it is told to.
func TestRockRestartsAfterACrash(t *testing.T) {
	p := podThatSays(t, "crash", 6530)
	createPods(t, p)
	c := runRock(t, "crash", append(rockKubeconfig(t), "--restart", "on-failure"))
	wantSaidBy(t, c, p.Name)
	docker(t, "exec", c.id, "/usr/bin/pebble", "signal", "KILL", "metrics-proxy")
	eventually(t, func() error {
		if n := docker(t, "inspect", "--format", "{{.RestartCount}}", c.id); n != "1" {
			return fmt.Errorf("the container was started again %s times", n)
		}
		return listens(c.Address())
	})
	wantSaidBy(t, c, p.Name)
}

// On Docker's own network a published port answers, though no API server can be reached
// from there.
func TestRockPublishesItsPort(t *testing.T) {
	port, err := testbed.FreePort()
	must(t, err)
	options := append(rockKubeconfig(t), "-e", "PORT=15090", "--publish", fmt.Sprintf("127.0.0.1:%d:15090", port))
	runRock(t, "x", options)
	wantOK(t, fmt.Sprintf("http://127.0.0.1:%d/-/healthy", port))
}

// Juju brings its own Pebble, which copies the rock's layer and holds the service until a
// charm asks for it. Until then the container counts as alive.
func TestRockUnderJujusPebble(t *testing.T) {
	p := podThatSays(t, "juju", 6540)
	createPods(t, p)
	for _, version := range []string{"1.32", "1.26"} {
		t.Run(version, func(t *testing.T) {
			health, err := testbed.FreePort()
			must(t, err)
			options := append(rockKubeconfig(t), underJujusPebble(t, version)...)
			c := runRock(t, "juju", options, "run", "--create-dirs", "--hold", "--http", fmt.Sprintf(":%d", health), "--verbose")
			for _, level := range []string{"alive", "ready"} {
				wantOK(t, fmt.Sprintf("http://127.0.0.1:%d/v1/health?level=%s", health, level))
			}
			if out := docker(t, "exec", c.id, "/charm/bin/pebble", "services"); !strings.Contains(out, "inactive") {
				t.Errorf("the service is not held:\n%s", out)
			}
			docker(t, "exec", c.id, "/charm/bin/pebble", "replan")
			wantSaidBy(t, c, p.Name)
		})
	}
}

// The image is small, and the same inputs make the same one.
func TestRockIsSmallAndReproducible(t *testing.T) {
	image := rock(t)
	size, err := strconv.Atoi(docker(t, "image", "inspect", "--format", "{{.Size}}", image))
	must(t, err)
	t.Logf("%d bytes uncompressed", size)
	if size >= 40_000_000 {
		t.Errorf("the image takes %d bytes uncompressed, want less than 40 MB", size)
	}
	before := docker(t, "image", "inspect", "--format", "{{.Id}}", image)
	again := exec.Command("go", "run", "./cmd/rockimage", "-docker")
	again.Dir = "../.."
	if out, err := again.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the image again: %v\n%s", err, out)
	}
	if after := docker(t, "image", "inspect", "--format", "{{.Id}}", image); after != before {
		t.Errorf("built again the image is %s, before it was %s", after, before)
	}
}

// What the README says of Docker works as it stands there, but for ports and selector.
func TestReadmeQuickStartWithDocker(t *testing.T) {
	rock(t)
	readme, err := os.ReadFile("../../../README.md")
	must(t, err)
	command := regexp.MustCompile(`(?s)    (docker run --detach --name metrics-proxy .*?metrics-proxy:[0-9.]+)\n`).FindSubmatch(readme)
	if command == nil {
		t.Fatal("the README does not run the image")
	}
	p := podThatSays(t, "quick", 6550)
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
	wantSaidBy(t, &container{testbed.ProxyAt(port, 0), name}, p.Name)
}

// BenchmarkRockStart measures the time from docker run to the first answer of
// /-/healthy, and what the processes of the container take: after the start, and after
// scrapes of 100 pods with a node exporter's metrics.
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
