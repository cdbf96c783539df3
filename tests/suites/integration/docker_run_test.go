package integration

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// rockUser is the default user of the image: _daemon_, as in every rock.
const rockUser = 584792

// buildRock builds the image of rockcraft.yaml once.
var buildRock = sync.OnceValues(func() (image string, err error) {
	for _, needed := range [][]string{{"docker", "info"}, {"umoci", "--version"}, {"skopeo", "--version"}} {
		if out, err := exec.Command(needed[0], needed[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s cannot be run on this machine: %w: %s", needed[0], err, lastLine(out))
		}
	}
	build := exec.Command("go", "run", "./cmd/rockimage", "-docker")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the image: %w\n%s", err, out)
	}
	return "metrics-proxy:0.1", nil
})

// rock returns the image. It skips the test if Docker or a tool is not available, unless
// REQUIRE_DOCKER is set.
func rock(t testing.TB) string {
	t.Helper()
	image, err := buildRock()
	if err != nil && os.Getenv("REQUIRE_DOCKER") == "" && strings.Contains(err.Error(), "cannot be run on this machine") {
		t.Skipf("cannot test the image: %v", err)
	}
	must(t, err)
	return image
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// docker runs a docker command and returns its output.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// container is a container of the rock.
type container struct {
	*testbed.Proxy
	id string
}

// runRock starts a container of the rock, on the host's network unless options publish a port.
// It is removed when the test ends. options are options of docker run, args are arguments of
// the entrypoint, which is Pebble.
func runRock(t testing.TB, test string, options []string, args ...string) *container {
	t.Helper()
	port, err := testbed.FreePort()
	must(t, err)
	own, err := testbed.FreePort()
	must(t, err)
	all := []string{"-e", "POD_LABEL_SELECTOR=test=" + test, "-e", "ALLOW_RESERVED_TARGETS=true", "-e", "PORT=" + strconv.Itoa(port), "-e", "METRICS_HTTP_PORT=" + strconv.Itoa(own)}
	if !slices.Contains(options, "--publish") {
		all = append(all, "--network", "host")
	}
	return &container{testbed.ProxyAt(port, own), startContainer(t, append(all, options...), args...)}
}

// startContainer starts a container of the rock, which is removed when the test ends.
func startContainer(t testing.TB, options []string, args ...string) (id string) {
	t.Helper()
	id = docker(t, slices.Concat([]string{"run", "--detach"}, options, []string{rock(t)}, args)...)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", id).CombinedOutput()
			t.Logf("log of the container:\n%s", out)
		}
		_ = exec.Command("docker", "rm", "--force", id).Run()
	})
	return id
}

// rockKubeconfig returns the options of docker run that mount a kubeconfig. The user of the
// image can read it.
func rockKubeconfig(t testing.TB) []string {
	t.Helper()
	return mountKubeconfig(t, kubeconfig(t))
}

func mountKubeconfig(t testing.TB, path string) []string {
	t.Helper()
	must(t, errors.Join(os.Chown(path, rockUser, rockUser), os.Chmod(filepath.Dir(path), 0o711), os.Chmod(shared.bed.Dir, 0o711))) //nolint:gosec // files of a test
	return []string{"-e", "KUBECONFIG=/kubeconfig", "-v", path + ":/kubeconfig:ro"}
}

// wantOK polls until a GET of the URL returns status 200.
func wantOK(t testing.TB, url string) {
	t.Helper()
	eventually(t, func() error {
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s returns %s", url, resp.Status)
		}
		return nil
	})
}

// wantExit waits until the container exits. It checks the exit code, and that the log contains
// the text.
func wantExit(t *testing.T, c *container, code int, text string) {
	t.Helper()
	if got := docker(t, "wait", c.id); got != strconv.Itoa(code) {
		t.Errorf("the container exited with code %s, want %d", got, code)
	}
	if log := docker(t, "logs", c.id); !strings.Contains(log, text) {
		t.Errorf("no %q in the log:\n%s", text, log)
	}
}

// wantContainerSamples is wantSamples for a container that may not be ready yet.
func wantContainerSamples(t *testing.T, c *container, names ...string) {
	t.Helper()
	c.waitReady(t)
	wantSamples(t, c.Proxy, names...)
}

func (c *container) waitReady(t testing.TB) {
	t.Helper()
	eventually(t, func() error { return listens(c.Address()) })
	eventually(t, func() error {
		if status, body := get(t, c.URL("/-/ready"), nil); status != http.StatusOK {
			return fmt.Errorf("/-/ready returns %d %s", status, body)
		}
		return nil
	})
}

// jujuPebbleOptions returns the options of docker run that replace the rock's Pebble by Juju's.
func jujuPebbleOptions(t *testing.T, version string) []string {
	t.Helper()
	pebble, err := testbed.Binary(t.Context(), "pebble-"+version, os.Stderr)
	must(t, err)
	return []string{
		"-v", pebble + ":/charm/bin/pebble:ro", "--entrypoint", "/charm/bin/pebble", "--tmpfs", "/charm/container:mode=1777",
		"-e", "PEBBLE=/charm/container/pebble", "-e", "PEBBLE_COPY_ONCE=/var/lib/pebble/default",
	}
}
