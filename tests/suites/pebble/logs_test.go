package pebble

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/canonical/pebble/client"
)

// loki is a fake Loki that records what is pushed to it.
type loki struct {
	*httptest.Server

	mu     sync.Mutex
	pushed string
}

func newLoki(t *testing.T) *loki {
	t.Helper()
	l := &loki{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.pushed += string(body)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(l.Close)
	return l
}

// take returns what was pushed since the previous call.
func (l *loki) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	pushed := l.pushed
	l.pushed = ""
	return pushed
}

// TestLogForwarding checks that the charm configures Pebble to push the log of the service to
// each unit of Loki, but not to a unit that has departed.
func TestLogForwarding(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		u := startUnit(t, p, shared.cluster.Proxy, "")
		u.reconcile(t, parameters{"selector": "app=nothing", "namespaces": "*", "port": freePort(t), "own_port": 0})
		stays, departs := newLoki(t), newLoki(t)
		both := []string{"tests/real/logs.py", u.socket, "loki/0=" + departs.URL, "loki/1=" + stays.URL}
		python(t, u.env, both...)
		for _, l := range []*loki{stays, departs} {
			u.restart(t)
			wantPushed(t, l)
		}
		for _, args := range [][]string{{both[0], both[1], both[3]}, both} { // the unit departs, then returns
			python(t, u.env, args...)
			stays.take()
			departs.take()
			for range 2 { // two starts, so that the log has had time to arrive at departs
				u.restart(t)
				wantPushed(t, stays)
			}
			if got := departs.take(); (got == "") == (len(args) == len(both)) {
				t.Errorf("with %v the unit that departs received %q", args, got)
			}
		}
	})
}

// wantPushed waits until the log of a start has arrived.
func wantPushed(t *testing.T, l *loki) {
	t.Helper()
	var pushed string
	eventually(t, func() error {
		pushed += l.take()
		for _, want := range []string{"first list of pods is complete", `"juju_unit":"metrics-proxy-k8s/0"`, `"pebble_service":"metrics-proxy"`} {
			if !strings.Contains(pushed, want) {
				return fmt.Errorf("Loki received %q, without %s", pushed, want)
			}
		}
		return nil
	})
}

func (d *daemon) restart(t *testing.T) {
	t.Helper()
	id, err := d.client.Restart(&client.ServiceOptions{Names: []string{service}})
	if err := errors.Join(err, d.wait(t, id)); err != nil {
		t.Fatal(err)
	}
}
