package pebble

import (
	"cmp"
	"context"
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
)

// sidecarLayer is the layer that the charm, and others with its package, add to the
// container, for parameters of the package as options.
func sidecarLayer(t *testing.T, parameters ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*bound) // it may have to install Python packages
	defer cancel()
	args := append([]string{"run", "--quiet", "--frozen", "--project", "../../charm", "python", "-m", "metrics_proxy_sidecar", "layer"}, parameters...)
	command := exec.CommandContext(ctx, cmp.Or(os.Getenv("UV"), "uv"), args...)
	var stderr strings.Builder
	command.Stderr = &stderr
	layer, err := command.Output()
	if err != nil {
		t.Fatalf("cannot print the layer (make pebble installs uv if it is missing): %v\n%s", err, stderr.String())
	}
	return string(layer)
}

// TestSidecarLayer adds the layer of the charm as it does.
func TestSidecarLayer(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		selector := createPods(t, healthy, healthy)
		d := startJuju(t, p, nil)
		ports := []string{strconv.Itoa(freePort(t)), strconv.Itoa(freePort(t))}
		own := strconv.Itoa(freePort(t))
		layer := func(port string) string {
			return sidecarLayer(t, "--selector", selector, "--port", port, "--own-port", own)
		}
		if err := d.configure(t, layer(ports[0])); err != nil {
			t.Fatal(err)
		}
		wantMerged(t, number(t, ports[0]), 2)
		d.wantCheck(t, client.CheckStatusUp)
		d.wantHealth(t, "ready", 200)

		before := d.service(t)
		if err := d.configure(t, layer(ports[0])); err != nil {
			t.Fatal(err)
		}
		if after := d.service(t); d.starts() != 1 || !after.CurrentSince.Equal(before.CurrentSince) {
			t.Errorf("after the same configuration: %d starts, service %+v, was %+v", d.starts(), after, before)
		}

		if err := d.configure(t, layer(ports[1])); err != nil {
			t.Fatal(err)
		}
		if d.starts() != 2 {
			t.Errorf("after another port: %d starts, want 2", d.starts())
		}
		wantMerged(t, number(t, ports[1]), 2)
		wantRefused(t, number(t, ports[0]))
		d.wantCheck(t, client.CheckStatusUp)
	})
}

// TestSidecarPortInUse: the last line that the program has written, as the charm looks for
// it in the text of the change, says which port is in use.
func TestSidecarPortInUse(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = taken.Close() }()
		_, port, _ := net.SplitHostPort(taken.Addr().String())
		free := strconv.Itoa(freePort(t))
		d := startJuju(t, p, nil)
		for _, test := range []struct{ port, own, want string }{
			{port, "0", "PORT is " + port + ": cannot listen there"},
			{free, port, "METRICS_HTTP_PORT is " + port + ": cannot listen there"},
		} {
			err = d.configure(t, sidecarLayer(t, "--selector", "app=nothing", "--port", test.port, "--own-port", test.own))
			if err == nil {
				t.Fatal("no error")
			}
			var last string
			for line := range strings.Lines(err.Error()) {
				if written, ok := strings.CutPrefix(strings.TrimSpace(line), "metrics-proxy: "); ok {
					last = written
				}
			}
			if !strings.HasPrefix(last, test.want) {
				t.Errorf("the last line is %q, want %q…; error %v", last, test.want, err)
			}
		}
	})
}

// TestSidecarShards: two units with the layer share the pods.
func TestSidecarShards(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		selector := createPods(t, healthy, healthy, healthy, healthy, healthy)
		seen := map[string]int{}
		for unit := range 2 {
			d := startJuju(t, p, nil)
			port := freePort(t)
			layer := sidecarLayer(t, "--selector", selector, "--port", strconv.Itoa(port), "--own-port", "0", "--shard-index", strconv.Itoa(unit), "--shard-count", "2")
			if err := d.configure(t, layer); err != nil {
				t.Fatal(err)
			}
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
				t.Errorf("pod %s is asked by %d units", pod, times)
			}
		}
	})
}

// TestSidecarPlan: the layer over that of the rock replaces its service and its check, and
// gives the scrapes in flight time.
func TestSidecarPlan(t *testing.T) {
	for _, timeout := range []string{"9s", "250ms", "1m30s"} {
		p, err := parse(rockLayer(t), sidecarLayer(t, "--selector", "app=a", "--port", "1234", "--scrape-timeout", timeout))
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Services) != 1 || len(p.Checks) != 1 {
			t.Errorf("services %v, checks %v, want one of each", p.Services, p.Checks)
		}
		s, check := p.Services[service], p.Checks[service]
		environ := []string{}
		for variable, value := range s.Environment {
			environ = append(environ, variable+"="+value)
		}
		c, _, err := config.Load(environ)
		if err != nil || c.Serve.Port != 1234 {
			t.Errorf("the program reads %+v, error %v", c, err)
		}
		const slack = 15 * time.Second
		if got, atLeast := s.KillDelay.Value, time.Duration(c.Scrape.Timeout)+slack; got <= atLeast {
			t.Errorf("kill-delay is %s: want more than %s", got, atLeast)
		}
		if s.OnFailure != plan.ActionRestart || check.Level != plan.UnsetLevel {
			t.Errorf("on-failure is %q, level of the check %q", s.OnFailure, check.Level)
		}
	}
}

func number(t *testing.T, port string) int {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
