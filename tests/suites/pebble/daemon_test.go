package pebble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/canonical/pebble/client"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// bound is the timeout of every wait, for a busy machine.
const bound = time.Minute

// daemon is a running Pebble.
type daemon struct {
	process *testbed.Process
	client  *client.Client
	socket  string // path of the API's socket
	health  string // URL of the health endpoint of --http
}

// startJuju starts Pebble as Juju does in a container of a charm: in a separate directory, to
// which Pebble copies the rock's layers, and without starting services.
func startJuju(t *testing.T, p pebble, env map[string]string) *daemon {
	t.Helper()
	port := freePort(t)
	dir := t.TempDir()
	env = with(env, map[string]string{
		"PEBBLE": filepath.Join(dir, "charm"), "PEBBLE_COPY_ONCE": rockDir(t), "PEBBLE_SOCKET": filepath.Join(socketDir(t), "s"),
	})
	d := startPebble(t, p, env, "run", "--create-dirs", "--hold", "--http", ":"+strconv.Itoa(port), "--verbose")
	d.health = "http://127.0.0.1:" + strconv.Itoa(port) + "/v1/health"
	return d
}

// startRock starts Pebble like the entrypoint of the rock.
func startRock(t *testing.T, p pebble, env map[string]string) *daemon {
	t.Helper()
	env = with(env, readRock(t).Environment, map[string]string{"PEBBLE": rockDir(t), "PEBBLE_SOCKET": filepath.Join(socketDir(t), "s")})
	return startPebble(t, p, env, "enter")
}

// startPebble starts a daemon, which is stopped when the test ends, and waits for its API.
func startPebble(t *testing.T, p pebble, env map[string]string, args ...string) *daemon {
	t.Helper()
	env = with(map[string]string{
		"PATH": shared.path, "KUBECONFIG": shared.kubeconfig, "METRICS_HTTP_PORT": "0", "ALLOW_RESERVED_TARGETS": "true",
	}, env)
	var environ []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		environ = append(environ, name+"="+env[name])
	}
	process, err := shared.bed.Start(testbed.Command{Name: "pebble", Path: p.binary, Args: args, Env: environ, Supervisor: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := process.Stop(bound); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of Pebble %s:\n%s", p.version, process.Stderr()+process.Stdout())
		}
	})
	c, err := client.New(&client.Config{Socket: env["PEBBLE_SOCKET"]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	d := &daemon{process: process, client: c, socket: env["PEBBLE_SOCKET"]}
	eventually(t, func() error {
		select {
		case <-process.Exited(): // some tests expect that
			return nil
		default:
			_, err := c.SysInfo()
			return err
		}
	})
	return d
}

// rockDir creates a directory with the content of /var/lib/pebble/default in the rock.
func rockDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	layer := filepath.Join(dir, "layers", "001-rockcraft-metrics-proxy.yaml") // the name that rockcraft uses
	if err := errors.Join(os.Mkdir(filepath.Dir(layer), 0o700), os.WriteFile(layer, []byte(rockLayer(t)), 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// socketDir creates a directory with a short path, because the length of socket paths is
// limited.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(shared.bed.Dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// addLayer adds a layer like add_layer(..., combine=True) in a charm.
func (d *daemon) addLayer(t *testing.T, layer string) {
	t.Helper()
	err := d.client.AddLayer(&client.AddLayerOptions{Combine: true, Label: "metrics-proxy", LayerData: []byte(layer)})
	if err != nil {
		t.Fatal(err)
	}
}

// configure adds the layer of a charm and replans. It returns the error of the change.
func (d *daemon) configure(t *testing.T, layer string) error {
	t.Helper()
	d.addLayer(t, layer)
	id, err := d.client.Replan(&client.ServiceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d.wait(t, id)
}

// wait waits until a change is done, and returns its error.
func (d *daemon) wait(t *testing.T, id string) error {
	t.Helper()
	change, err := d.client.WaitChange(id, &client.WaitChangeOptions{Timeout: bound})
	if err != nil {
		t.Fatal(err)
	}
	if change.Err != "" {
		var logs []string
		for _, task := range change.Tasks {
			logs = append(logs, task.Log...)
		}
		return fmt.Errorf("%s\n%s", change.Err, strings.Join(logs, "\n"))
	}
	return nil
}

func (d *daemon) service(t *testing.T) *client.ServiceInfo {
	t.Helper()
	services, err := d.client.Services(&client.ServicesOptions{})
	if err != nil || len(services) != 1 || services[0].Name != service {
		t.Fatalf("services %v, error %v: want only %s", services, err, service)
	}
	return services[0]
}

// starts returns how often the service was started.
func (d *daemon) starts() int {
	return strings.Count(d.process.Stderr()+d.process.Stdout(), `Service "`+service+`" starting`)
}

func (d *daemon) check(t *testing.T, name string) *client.CheckInfo {
	t.Helper()
	checks, err := d.client.Checks(&client.ChecksOptions{Names: []string{name}})
	if err != nil || len(checks) != 1 {
		t.Fatalf("checks %v, error %v: want %s", checks, err, name)
	}
	return checks[0]
}

// runCheck runs the check immediately, and returns its error.
func (d *daemon) runCheck(t *testing.T, name string) error {
	t.Helper()
	result, err := d.client.RefreshCheck(&client.RefreshCheckOptions{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if result.Error != "" {
		return errors.New(result.Error)
	}
	return nil
}

// wantCheck runs the rock's health check until it has the status.
func (d *daemon) wantCheck(t *testing.T, status client.CheckStatus) {
	t.Helper()
	d.wantCheckOf(t, service, status)
}

func (d *daemon) wantCheckOf(t *testing.T, name string, status client.CheckStatus) {
	t.Helper()
	eventually(t, func() error {
		failed := d.runCheck(t, name)
		if got := d.check(t, name); got.Status != status || (failed == nil) != (status == client.CheckStatusUp) {
			return errors.Join(fmt.Errorf("check is %+v: want %s", got, status), failed)
		}
		return nil
	})
}

// wantExit waits until Pebble exits, and checks the exit code.
func (d *daemon) wantExit(t *testing.T, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if code, err := d.process.Wait(ctx); err != nil || code != want {
		t.Errorf("Pebble exited with code %d, error %v, want %d", code, err, want)
	}
}

func (d *daemon) signal(t *testing.T, name string) {
	t.Helper()
	if err := d.client.SendSignal(&client.SendSignalOptions{Signal: name, Services: []string{service}}); err != nil {
		t.Fatal(err)
	}
}

// wantHealth checks the status of the health endpoint, which the kubelet probes, for a level.
func (d *daemon) wantHealth(t *testing.T, level string, want int) {
	t.Helper()
	status, body, err := get(t.Context(), d.health+"?level="+level)
	if err != nil || status != want {
		t.Errorf("health of level %q is %d %q, error %v: want %d", level, status, body, err, want)
	}
}

// logs returns the log of the service.
func (d *daemon) logs(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := d.client.Logs(&client.LogsOptions{Services: []string{service}, N: -1, WriteLog: func(entry client.LogEntry) error {
		_, err := all.WriteString(entry.Message + "\n")
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := testbed.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// with merges the variables. Later ones take precedence.
func with(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, one := range all {
		maps.Copy(merged, one)
	}
	return merged
}

// eventually calls check until it returns nil. After bound it fails the test with the last
// error.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	testbed.Eventually(t, bound, check)
}
