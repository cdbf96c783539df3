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

// reset is what a connection ends with that is reset, from another port each time.
func reset(dials int) error {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000 + dials}
	return &net.OpError{Op: "read", Net: "tcp", Source: from, Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, Err: syscall.ECONNRESET}
}

// TestConnectionsEnd has an API server that takes connections and answers nothing, for
// which client-go gives a watch without events: it is to count as what it is, an API
// server that cannot be reached, for as long as it takes.
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
		for kind, streamsList := range map[string]bool{"list and watch": false, "watch that begins with a list": true} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					testConnectionsEnd(t, &fakeAPI{streamsList: streamsList, whenDown: test.whenDown}, test.want, test.lines)
				})
			})
		}
	}
}

func testConnectionsEnd(t *testing.T, api *fakeAPI, want string, lines int) {
	t.Helper()
	registry := prometheus.NewRegistry()
	p, log := api.follow(t, func(o *Options) { o.Registerer = registry })
	api.put(newPod("a", nil))
	watches := counterOf(t, registry, "metrics_proxy_discovery_requests_total", "ok", "watch")

	api.goDown()
	for range 600 {
		time.Sleep(6 * time.Second)
		synctest.Wait()
		err := p.Current()
		if err == nil || !strings.HasPrefix(err.Error(), "pods of all namespaces may be out of date: cannot reach the API server at http://api: ") || !strings.Contains(err.Error(), want) {
			t.Fatalf("Current is %v, want that the API server cannot be reached: %s", err, want)
		}
	}
	wantTargets(t, p, "a http://10.0.0.1:80/metrics")
	if api.dials < 300 || api.dials > 2000 {
		t.Errorf("%d connections in an hour, want delays that grow to about ten seconds", api.dials)
	}
	if got := log.with("level=ERROR", "cannot follow pods"); len(got) != lines {
		t.Errorf("%d failures were logged, want %d: %q", len(got), lines, got)
	}
	if got := log.with("tells of pods again"); len(got) > 0 {
		t.Errorf("that it is back was logged while it was not: %q", got)
	}
	if got := counterOf(t, registry, "metrics_proxy_discovery_requests_total", "ok", "watch"); got != watches {
		t.Errorf("%g watches count as opened", got-watches)
	}

	api.set(func() { api.isDown = false })
	time.Sleep(time.Minute)
	synctest.Wait()
	if err := p.Current(); err != nil {
		t.Errorf("with the API server back Current is %v", err)
	}
	if got := log.with("tells of pods again"); len(got) != 1 {
		t.Errorf("that it is back was logged %d times: %q", len(got), log.lines)
	}
}

// TestOnlyListsAreAnswered wants what is known to be as new as the last list, and one
// line in the log, for the pods are not followed.
func TestOnlyListsAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{abortsWatches: true}
		p, log := api.follow(t, nil)
		api.put(newPod("a", nil))
		time.Sleep(time.Hour)
		synctest.Wait()
		wantTargets(t, p, "a http://10.0.0.1:80/metrics")
		if err := p.Current(); err == nil || !strings.Contains(err.Error(), "cannot reach the API server at http://api: EOF") {
			t.Errorf("Current is %v, want that no watch can begin", err)
		}
		if got := log.with("level=ERROR"); len(got) != 1 {
			t.Errorf("%d lines, want 1: %q", len(got), got)
		}
		if got := log.with("tells of pods again"); len(got) > 0 {
			t.Errorf("that pods are followed was logged while they were not: %q", got)
		}
		api.set(func() { api.abortsWatches = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Current(); err != nil || len(log.with("tells of pods again")) != 1 {
			t.Errorf("once watches begin Current is %v, logged was %q", err, log.lines)
		}
	})
}

// TestGateway has something else answer in place of the API server.
func TestGateway(t *testing.T) {
	const want = "has no resourceVersion"
	t.Run("from the start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := fakeAPI{isGateway: true}
			p, _ := api.follow(t, nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			if err := p.Ready(); err == nil || !strings.Contains(err.Error(), "cannot use the list of pods from http://api: it "+want) {
				t.Errorf("Ready is %v, want that the list %s", err, want)
			}
		})
	})
	t.Run("later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var api fakeAPI
			p, log := api.follow(t, nil)
			api.put(newPod("a", nil))
			api.goDown()
			api.set(func() { api.isDown, api.isGateway = false, true })
			time.Sleep(time.Hour)
			synctest.Wait()
			wantTargets(t, p, "a http://10.0.0.1:80/metrics")
			if err := p.Current(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Current is %v, want that the list %s", err, want)
			}
			if got := log.with("level=ERROR", want); len(got) != 1 {
				t.Errorf("%d lines, want 1: %q", len(got), log.lines)
			}
			if got := log.with("tells of pods again"); len(got) > 1 { // a watch tells nothing at first
				t.Errorf("that it is back was logged %d times", len(got))
			}
		})
	})
}
