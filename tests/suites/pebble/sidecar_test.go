package pebble

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/canonical/pebble/client"
	"github.com/canonical/pebble/internals/plan"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// unit is a unit of a charm with the sidecar.
type unit struct {
	*daemon
	env map[string]string // environment of its hooks
}

// startUnit starts the container of a unit. The name of the user determines the application
// and the model; the user's permissions are those of the application.
func startUnit(t *testing.T, p pebble, user testbed.User, server string) unit {
	t.Helper()
	kubeconfig, err := shared.cluster.Kubeconfig(user, server)
	if err != nil {
		t.Fatal(err)
	}
	// system:serviceaccount:MODEL:APP
	names := strings.Split(user.Name, ":")
	return unit{startJuju(t, p, map[string]string{"KUBECONFIG": kubeconfig}), map[string]string{
		"JUJU_UNIT_NAME": names[3] + "/0", "JUJU_MODEL_NAME": names[2], "JUJU_VERSION": "3.6.0",
	}}
}

// newUser creates the service account of an application.
func newUser(t *testing.T, app string, grants ...testbed.Grant) testbed.User {
	t.Helper()
	user, err := shared.cluster.NewUser(t.Context(), app, grants...)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// suffix returns the version in a form that is valid in Kubernetes names.
func (p pebble) suffix() string { return strings.ReplaceAll(p.version, ".", "-") }

// parameters are parameters of MetricsProxy, by name.
type parameters map[string]any

// condition is the state that MetricsProxy reports.
type condition struct{ Problem, Waiting, Summary, Version, Manifest string }

// reconcile reconciles the sidecar, as a charm does for each event.
func (u unit) reconcile(t *testing.T, p parameters) (c condition) {
	t.Helper()
	given, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(python(t, u.env, "tests/real/sidecar.py", u.socket, string(given)), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func python(t *testing.T, env map[string]string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*bound)
	defer cancel()
	out, err := testbed.Python(ctx, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSidecar checks that the package starts the service, restarts it only if the
// configuration changes, and reports how many targets are up.
func TestSidecar(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		u := startUnit(t, p, shared.cluster.Proxy, "")
		ports := []int{freePort(t), freePort(t)}
		given := parameters{"selector": createPods(t, healthy, healthy), "namespaces": "*", "port": ports[0], "own_port": freePort(t)}
		if c := u.reconcile(t, given); c.Summary != "2 targets, not scraped yet" || c.Version == "" {
			t.Errorf("after the first event: %+v", c)
		}
		wantMerged(t, ports[0], 2)
		u.wantCheck(t, client.CheckStatusUp)
		u.wantHealth(t, "ready", 200)

		before := u.service(t)
		if c := u.reconcile(t, given); c.Summary != "2 of 2 targets up" {
			t.Errorf("after a scrape: %+v", c)
		}
		if after := u.service(t); u.starts() != 1 || !after.CurrentSince.Equal(before.CurrentSince) {
			t.Errorf("after applying the same configuration: %d starts, service %+v, before %+v", u.starts(), after, before)
		}

		given["port"] = ports[1]
		u.reconcile(t, given)
		if u.starts() != 2 {
			t.Errorf("after changing the port: %d starts, want 2", u.starts())
		}
		wantMerged(t, ports[1], 2)
		wantRefused(t, ports[0])
		u.wantCheck(t, client.CheckStatusUp)

		given["selector"] = "app in ("
		if c := u.reconcile(t, given); !strings.HasPrefix(c.Problem, `selector is "app in (": expected`) {
			t.Errorf("with an invalid selector: %+v", c)
		}
		wantMerged(t, ports[1], 2)
	})
}

// TestSidecarPortInUse checks that the problem names the port that is in use, which the
// package reads from the error of Pebble's change.
func TestSidecarPortInUse(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = taken.Close() }()
		port := taken.Addr().(*net.TCPAddr).Port
		u := startUnit(t, p, shared.cluster.Proxy, "")
		for _, test := range []struct {
			port, own int
			want      string
		}{
			{port, 0, "port %d is in use in this pod: this charm must change the parameter port of MetricsProxy"},
			{freePort(t), port, "port %d is in use in this pod: this charm must change the parameter own_port of MetricsProxy"},
		} {
			c := u.reconcile(t, parameters{"selector": "app=nothing", "port": test.port, "own_port": test.own})
			if want := fmt.Sprintf(test.want, port); c.Problem != want {
				t.Errorf("the problem is %+v, want %s", c, want)
			}
		}
	})
}

// TestSidecarPermission checks that a missing permission is reported as a problem with a
// remedy, and that applying the manifest solves it.
func TestSidecarPermission(t *testing.T) {
	for name, test := range map[string]struct{ namespaces, where string }{
		"everywhere": {"*", "all namespaces"},
		"two":        {"a, b", "a, b"},
	} {
		t.Run(name, func(t *testing.T) {
			withEachPebble(t, func(t *testing.T, p pebble) {
				app := name + "-" + p.suffix()
				user := newUser(t, app)
				u := startUnit(t, p, user, "")
				given := parameters{"selector": "app=nothing", "namespaces": test.namespaces, "port": freePort(t), "own_port": 0}
				c := u.reconcile(t, given)
				if want := "no permission to list pods in " + test.where + ": run juju trust " + app + " --scope=cluster, or bind a Role"; c.Problem != want {
					t.Fatalf("the problem is %+v, want %s", c, want)
				}
				u.wantCheckOf(t, service+"-ready", client.CheckStatusDown)
				apply(t, c.Manifest)
				u.wantCheckOf(t, service+"-ready", client.CheckStatusUp)
				eventually(t, func() error {
					if c = u.reconcile(t, given); c.Summary != "0 targets, not scraped yet" {
						return fmt.Errorf("with its manifest applied: %+v", c)
					}
					return nil
				})
			})
		})
	}
}

// apply applies a manifest with kubectl, as the administrator.
func apply(t *testing.T, manifest string) {
	t.Helper()
	kubectl, err := testbed.Binary(t.Context(), "kubectl", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := shared.cluster.Kubeconfig(shared.cluster.Admin, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.cluster.CreateNamespaces(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), kubectl, "--kubeconfig", kubeconfig, "apply", "-f", "-")
	command.Stdin = strings.NewReader(manifest)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v: %s\n%s", err, out, manifest)
	}
}

// TestSidecarListPermission tests an application that may list pods but not watch them, like
// a Juju application that is not trusted.
func TestSidecarListPermission(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		app := "lists-only-" + p.suffix()
		user := newUser(t, app, testbed.Grant{Rules: testbed.PodRules("get", "list", "patch")})
		given := parameters{"selector": createPods(t, healthy), "namespaces": "*", "port": freePort(t), "own_port": 0}
		c := startUnit(t, p, user, "").reconcile(t, given)
		if want := "1 targets, not scraped yet; pods are listed, not watched (run juju trust " + app + " --scope=cluster)"; c.Summary != want {
			t.Errorf("the state is %+v, want summary %s", c, want)
		}
	})
}

// TestSidecarWithoutAPIServer checks that an unreachable API server is not a problem that
// the user must solve.
func TestSidecarWithoutAPIServer(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		nowhere := "https://127.0.0.1:" + strconv.Itoa(freePort(t))
		c := startUnit(t, p, shared.cluster.Proxy, nowhere).reconcile(t, parameters{"selector": "app=nothing", "port": freePort(t), "own_port": 0})
		if c.Problem != "" || !strings.HasPrefix(c.Waiting, "waiting for the API server: ") || !strings.Contains(c.Waiting, nowhere) {
			t.Errorf("%+v, want the state waiting for %s", c, nowhere)
		}
	})
}

// TestSidecarShards checks that each pod is scraped by exactly one of two units.
func TestSidecarShards(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		selector := createPods(t, healthy, healthy, healthy, healthy, healthy)
		seen := map[string]int{}
		for index := range 2 {
			u, port := startUnit(t, p, shared.cluster.Proxy, ""), freePort(t)
			u.reconcile(t, parameters{"selector": selector, "namespaces": "*", "port": port, "own_port": 0, "shard_index": index, "shard_count": 2})
			wantReady(t, port)
			up, _, _, err := scrape(t.Context(), port)
			if err != nil {
				t.Fatal(err)
			}
			for _, pod := range up {
				seen[pod]++
			}
		}
		if len(seen) != 5 {
			t.Errorf("the units have %v, want 5 pods", seen)
		}
		for pod, times := range seen {
			if times != 1 {
				t.Errorf("pod %s is scraped by %d units", pod, times)
			}
		}
	})
}

// TestSidecarPlan checks the plan of the rock's layer with that of the package: it replaces
// the service and the check, and its kill-delay allows scrapes in flight to complete.
func TestSidecarPlan(t *testing.T) {
	for _, timeout := range []string{"9s", "250ms", "1m30s"} {
		layer := python(t, nil, "-m", "metrics_proxy_sidecar", "layer", "--selector", "app=a", "--port", "1234", "--scrape-timeout", timeout)
		p, err := parse(rockLayer(t), string(layer))
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Services) != 1 || len(p.Checks) != 2 {
			t.Errorf("services %v, checks %v, want one service and two checks", p.Services, p.Checks)
		}
		for _, check := range p.Checks {
			if check.Level != plan.UnsetLevel {
				t.Errorf("level of check %s is %q", check.Name, check.Level)
			}
		}
		s := p.Services[service]
		environ := []string{}
		for variable, value := range s.Environment {
			environ = append(environ, variable+"="+value)
		}
		c, _, err := config.Load(environ)
		if err != nil || c.Serve.Port != 1234 {
			t.Errorf("the program reads the configuration %+v, error %v", c, err)
		}
		const slack = 15 * time.Second
		if got, atLeast := s.KillDelay.Value, time.Duration(c.Scrape.Timeout)+slack; got <= atLeast {
			t.Errorf("kill-delay is %s: want more than %s", got, atLeast)
		}
		if s.OnFailure != plan.ActionRestart {
			t.Errorf("on-failure is %q", s.OnFailure)
		}
	}
}
