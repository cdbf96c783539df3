package discovery

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reset returns the error of a connection that is reset, with a different source port each
// time.
func reset(dials int) error {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000 + dials}
	return &net.OpError{Op: "read", Net: "tcp", Source: from, Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, Err: syscall.ECONNRESET}
}

// TestConnectionsEnd uses an API server that accepts connections and closes them without a
// response. client-go returns a watch without events in this case. It must count as an API
// server that cannot be reached, for as long as it lasts.
func TestConnectionsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		whenDown func(dials int) error
		want     string
		lines    int
	}{
		"closed":      {func(int) error { return io.EOF }, "EOF", 1},
		"reset":       {reset, "connection reset by peer", 1},
		"not in time": {func(int) error { return &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded} }, "i/o timeout", 1},
		"closed or reset": {func(dials int) error {
			if dials%3 == 0 {
				return reset(dials)
			}
			return io.EOF
		}, "", 2},
	} {
		for kind, supportsWatchList := range map[string]bool{"list and watch": false, "watch that starts with a list": true} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					testConnectionsEnd(t, &fakeAPI{supportsWatchList: supportsWatchList, whenDown: test.whenDown}, test.want, test.lines)
				})
			})
		}
	}
}

func testConnectionsEnd(t *testing.T, api *fakeAPI, want string, lines int) {
	t.Helper()
	registry := prometheus.NewRegistry()
	p, log := api.start(t, func(o *Options) { o.Registerer = registry })
	api.put(newPod("a", nil))
	watches := counterOf(t, registry, "metrics_proxy_discovery_requests_total", "ok", "watch")

	api.goDown()
	for range 600 {
		time.Sleep(6 * time.Second)
		synctest.Wait()
		err := p.Current()
		if err == nil || !strings.HasPrefix(err.Error(), "pods of all namespaces may be out of date: cannot reach the API server at http://api: ") || !strings.Contains(err.Error(), want) {
			t.Fatalf("Current returned %v, want that the API server cannot be reached: %s", err, want)
		}
	}
	wantTargets(t, p, "a http://10.0.0.1:80/metrics")
	if api.dials < 300 || api.dials > 2000 {
		t.Errorf("%d connections in an hour, want delays that increase to about ten seconds", api.dials)
	}
	if got := log.with("level=ERROR", "cannot list or watch pods"); len(got) != lines {
		t.Errorf("%d failures were logged, want %d: %q", len(got), lines, got)
	}
	if got := log.with("watching pods again"); len(got) > 0 {
		t.Errorf("a recovery was logged while the API server was down: %q", got)
	}
	if got := counterOf(t, registry, "metrics_proxy_discovery_requests_total", "ok", "watch"); got != watches {
		t.Errorf("%g watches were counted as successful", got-watches)
	}

	api.set(func() { api.isDown = false })
	time.Sleep(time.Minute)
	synctest.Wait()
	if err := p.Current(); err != nil {
		t.Errorf("after the API server is back: Current returned %v", err)
	}
	if got := log.with("watching pods again"); len(got) != 1 {
		t.Errorf("the recovery was logged %d times, want once: %q", len(got), log.lines)
	}
}

// TestOnlyListsSucceed checks that the targets are those of the last list if watches fail, and
// that the failure is logged once.
func TestOnlyListsSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{closesWatches: true}
		p, log := api.start(t, nil)
		api.put(newPod("a", nil))
		time.Sleep(time.Hour)
		synctest.Wait()
		wantTargets(t, p, "a http://10.0.0.1:80/metrics")
		if err := p.Current(); err == nil || !strings.Contains(err.Error(), "cannot reach the API server at http://api: EOF") {
			t.Errorf("Current returned %v, want that no watch can start", err)
		}
		if got := log.with("level=ERROR"); len(got) != 1 {
			t.Errorf("got %d lines, want 1: %q", len(got), got)
		}
		if got := log.with("watching pods again"); len(got) > 0 {
			t.Errorf("a recovery was logged while watches failed: %q", got)
		}
		api.set(func() { api.closesWatches = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Current(); err != nil || len(log.with("watching pods again")) != 1 {
			t.Errorf("once watches succeed: Current returned %v, logged %q", err, log.lines)
		}
	})
}

// TestGateway checks responses from a server that is not an API server.
func TestGateway(t *testing.T) {
	const want = "has no resourceVersion"
	t.Run("from the start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := fakeAPI{isGateway: true}
			p, _ := api.start(t, nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			if err := p.Ready(); err == nil || !strings.Contains(err.Error(), "cannot use the list of pods from http://api: it "+want) {
				t.Errorf("Ready returned %v, want that the list %s", err, want)
			}
		})
	})
	t.Run("later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var api fakeAPI
			p, log := api.start(t, nil)
			api.put(newPod("a", nil))
			api.goDown()
			api.set(func() { api.isDown, api.isGateway = false, true })
			time.Sleep(time.Hour)
			synctest.Wait()
			wantTargets(t, p, "a http://10.0.0.1:80/metrics")
			if err := p.Current(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Current returned %v, want that the list %s", err, want)
			}
			if got := log.with("level=ERROR", want); len(got) != 1 {
				t.Errorf("got %d lines, want 1: %q", len(got), log.lines)
			}
			if got := log.with("watching pods again"); len(got) > 1 { // a watch has no events at first
				t.Errorf("the recovery was logged %d times, want at most once", len(got))
			}
		})
	})
}
