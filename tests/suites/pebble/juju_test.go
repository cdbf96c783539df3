package pebble

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/canonical/pebble/client"
)

// TestServiceWaitsForConfiguration checks that Juju's Pebble loads the rock's layer and does
// not start the service until a charm configures it. Until then the container must count as
// alive, so that Juju does not restart it.
func TestServiceWaitsForConfiguration(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		d := startJuju(t, p, map[string]string{"PORT": strconv.Itoa(freePort(t))})
		if s := d.service(t); s.Current != client.StatusInactive || s.Startup != client.StartupEnabled {
			t.Errorf("service is %+v", s)
		}
		d.wantHealth(t, "alive", http.StatusOK)
		d.wantCheck(t, client.CheckStatusDown)
		d.wantHealth(t, "alive", http.StatusOK)
		d.wantHealth(t, "ready", http.StatusOK)
		d.wantHealth(t, "", http.StatusBadGateway)

		d.addLayer(t, "checks: {metrics-proxy: {override: merge, level: alive}}") // the level that the rock's check must not have
		d.wantCheck(t, client.CheckStatusDown)
		d.wantHealth(t, "alive", http.StatusBadGateway)
		if d.starts() != 0 {
			t.Error("the service was started before it was configured")
		}
	})
}

// TestIstioLayer adds the layer of the istio charms in the same way as these charms.
func TestIstioLayer(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		selector := createPods(t, healthy, healthy)
		d := startJuju(t, p, nil)
		ports := []int{freePort(t), freePort(t)}
		if err := d.configure(t, istioLayer(selector, ports[0])); err != nil {
			t.Fatal(err)
		}
		wantMerged(t, ports[0], 2)
		d.wantCheck(t, client.CheckStatusUp)

		before := d.service(t)
		if err := d.configure(t, istioLayer(selector, ports[0])); err != nil {
			t.Fatal(err)
		}
		if after := d.service(t); d.starts() != 1 || after.Current != client.StatusActive || !after.CurrentSince.Equal(before.CurrentSince) {
			t.Errorf("after adding the same layer: %d starts, service %+v, before %+v", d.starts(), after, before)
		}

		if err := d.configure(t, istioLayer(selector, ports[1])); err != nil {
			t.Fatal(err)
		}
		if d.starts() != 2 {
			t.Errorf("after changing PORT: %d starts, want 2", d.starts())
		}
		wantMerged(t, ports[1], 2)
		wantRefused(t, ports[0])
		d.wantCheck(t, client.CheckStatusUp)
	})
}

// TestInvalidSelector checks that the error of the change and the service's log show the
// mistake, and that the service starts after the correction.
func TestInvalidSelector(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		d := startJuju(t, p, nil)
		port := freePort(t)
		err := d.configure(t, istioLayer("app in (", port))
		for _, want := range []string{"exited quickly with code 2", "POD_LABEL_SELECTOR", "app in ("} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error of the change is %v, want one with %q", err, want)
			}
		}
		if logs := d.logs(t); !strings.Contains(logs, "POD_LABEL_SELECTOR") {
			t.Errorf("the log of the service is %q, want one with POD_LABEL_SELECTOR", logs)
		}
		if s := d.service(t); s.Current == client.StatusActive {
			t.Errorf("service is %+v", s)
		}
		if err := d.configure(t, istioLayer("app=nothing", port)); err != nil {
			t.Fatal(err)
		}
		wantMerged(t, port, 0)
	})
}

// TestCheckDetectsHungService checks that the rock's check fails while the service hangs.
func TestCheckDetectsHungService(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		d := startJuju(t, p, nil)
		port := freePort(t)
		if err := d.configure(t, istioLayer("app=nothing", port)); err != nil {
			t.Fatal(err)
		}
		wantMerged(t, port, 0)
		d.wantCheck(t, client.CheckStatusUp)
		d.signal(t, "SIGSTOP")
		d.wantCheck(t, client.CheckStatusDown)
		d.signal(t, "SIGCONT")
		d.wantCheck(t, client.CheckStatusUp)
	})
}

// TestStop stops the service during the scrape of a pod.
func TestStop(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		started, release := make(chan struct{}), make(chan struct{})
		selector := createPods(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(started)
			select {
			case <-release:
			case <-r.Context().Done():
			}
			healthy.ServeHTTP(w, r)
		}))
		d := startJuju(t, p, nil)
		port := freePort(t)
		if err := d.configure(t, istioLayer(selector, port)); err != nil {
			t.Fatal(err)
		}
		wantReady(t, port)
		scraped := make(chan error, 1)
		go func() { scraped <- merged(t.Context(), port, 1) }()
		select {
		case <-started:
		case err := <-scraped:
			t.Fatal(err)
		}
		id, err := d.client.Stop(&client.ServiceOptions{Names: []string{service}})
		if err != nil {
			t.Fatal(err)
		}
		wantRefused(t, port) // after SIGTERM it accepts no connections
		close(release)
		if err := <-scraped; err != nil {
			t.Errorf("the scrape in flight failed: %v", err)
		}
		if err := d.wait(t, id); err != nil {
			t.Error(err)
		}
		if s := d.service(t); s.Current != client.StatusInactive {
			t.Errorf("service is %+v", s)
		}
	})
}
