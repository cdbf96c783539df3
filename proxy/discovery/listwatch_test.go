package discovery

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/canonical/metrics-k8s-proxy/proxy/kubeapi"
)

// TestFollow checks the life cycle of pods with both kinds of API servers: one that starts a
// watch with a list, and one that needs a separate list request.
func TestFollow(t *testing.T) {
	for name, api := range map[string]*fakeAPI{"list and watch": {}, "watch that starts with a list": {supportsWatchList: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := prometheus.NewRegistry()
				p, log := api.start(t, func(o *Options) { o.Registerer = registry })
				if err := p.Ready(); err != nil {
					t.Errorf("after an empty list: %v", err)
				}
				api.put(newPod("a", nil), newPod("b", nil))
				wantTargets(t, p, "a http://10.0.0.1:80/metrics", "b http://10.0.0.1:80/metrics")
				api.put(newPod("a", map[string]string{portAnnotation: "81"}))
				wantTargets(t, p, "a http://10.0.0.1:81/metrics", "b http://10.0.0.1:80/metrics")
				api.remove(newPod("b", nil))
				wantTargets(t, p, "a http://10.0.0.1:81/metrics")

				time.Sleep(time.Hour)
				wantTargets(t, p, "a http://10.0.0.1:81/metrics")
				if lines := log.with("level=ERROR"); len(lines) > 0 {
					t.Errorf("errors were logged: %q", lines)
				}
				for event, want := range map[string]float64{"add": 2, "update": 1, "delete": 1} {
					if got := counterOf(t, registry, "metrics_proxy_discovery_events_total", event); got != want {
						t.Errorf("%g events %s were counted, want %g", got, event, want)
					}
				}
				if got := counterOf(t, registry, "metrics_proxy_discovery_requests_total", "ok", "watch"); got < 1 {
					t.Errorf("%g watches were counted, want at least 1", got)
				}
				if lists := api.count("list"); (lists == 0) != api.supportsWatchList {
					t.Errorf("got %d list requests", lists)
				}
			})
		})
	}
}

// TestRequests checks the requests to the API server.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api fakeAPI
		api.start(t, func(o *Options) {
			o.Dialects = []Dialect{Annotations("app in (a,b),!canary", nil)}
			o.NodeName, o.Namespaces = "node-1", []string{"x", "y"}
		})
		paths := map[string]int{}
		for _, u := range api.requests {
			paths[u.Path]++
			q := u.Query()
			if got := q.Get("labelSelector"); got != "app in (a,b),!canary" {
				t.Errorf("got labelSelector %q", got)
			}
			if got := q.Get("fieldSelector"); got != "spec.nodeName=node-1" {
				t.Errorf("got fieldSelector %q", got)
			}
		}
		if len(paths) != 2 || paths["/api/v1/namespaces/x/pods"] == 0 || paths["/api/v1/namespaces/y/pods"] == 0 {
			t.Errorf("got paths %v", paths)
		}
	})
}

// TestWatchForbidden checks that pods are listed every PollInterval, with one warning, if
// watching is forbidden.
func TestWatchForbidden(t *testing.T) {
	for name, api := range map[string]*fakeAPI{"old API server": {watchForbidden: true}, "new API server": {watchForbidden: true, supportsWatchList: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, log := api.start(t, func(o *Options) { o.PollInterval = time.Minute })
				if err := p.Ready(); err != nil {
					t.Errorf("after the first list: %v", err)
				}
				api.put(newPod("a", nil))
				time.Sleep(time.Minute - time.Second)
				synctest.Wait()
				wantTargets(t, p)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				wantTargets(t, p, "a http://10.0.0.1:80/metrics")
				api.remove(newPod("a", nil))
				time.Sleep(time.Minute)
				synctest.Wait()
				wantTargets(t, p)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if lists := api.count("list"); lists != 13 {
					t.Errorf("%d lists in 12 minutes, want the first and one a minute", lists)
				}
				if lines := log.with("cannot watch pods", "interval=1m0s", "all namespaces", "cannot watch resource pods"); len(lines) != 1 {
					t.Errorf("the warning was logged %d times: %q", len(lines), log.lines)
				}
				if lines := log.with("level=ERROR"); len(lines) > 0 {
					t.Errorf("errors were logged: %q", lines)
				}

				want := `pods of all namespaces are listed every 1m0s because they may not be watched: expected a ClusterRole with the rule`
				if err := p.Current(); err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("Current returned %v, want %s", err, want)
				}

				// Watching becomes allowed.
				api.set(func() { api.watchForbidden = false })
				time.Sleep(time.Minute)
				synctest.Wait()
				if err := p.Current(); err != nil {
					t.Errorf("once watching is allowed: Current returned %v", err)
				}
				api.put(newPod("b", nil))
				wantTargets(t, p, "b http://10.0.0.1:80/metrics")
			})
		})
	}
}

// TestEnd checks the shutdown during the wait for the next list. The cleanup of start checks
// that it is immediate.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{watchForbidden: true}
		api.start(t, nil)
	})
}

// TestEndWithoutResponse checks the shutdown during the wait for a response.
func TestEndWithoutResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{hangs: true}
		api.start(t, nil)
	})
}

// TestListForbidden checks that Ready returns the message of the API server, that it is
// logged once, and that no restart is needed once listing is allowed.
func TestListForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{listForbidden: true, watchForbidden: true}
		p, log := api.start(t, func(o *Options) { o.Namespaces = []string{"web"} })
		isForbidden := func() {
			t.Helper()
			err := p.Ready()
			if err == nil || !strings.Contains(err.Error(), "pods of namespace web are not known yet: pods is forbidden: the user cannot list resource pods") {
				t.Errorf("Ready returned %v, want the message of the API server", err)
			}
		}
		isForbidden()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		isForbidden()
		if lines := log.with("level=ERROR", "cannot list or watch pods", "verb=list", "namespace web", "cannot list resource pods", "expected a Role in namespace web with the rule apiGroups"); len(lines) != 1 {
			t.Errorf("got %d lines, want 1: %q", len(lines), log.lines)
		}
		if lists := api.count("list"); lists < 35 || lists > 80 {
			t.Errorf("%d lists in 10 minutes, want delays that increase to about ten seconds", lists)
		}
		api.put(newPod("a", nil))
		api.set(func() { api.listForbidden, api.watchForbidden = false, false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Ready(); err != nil {
			t.Errorf("once listing is allowed: %v", err)
		}
		wantTargets(t, p, "a http://10.0.0.1:80/metrics")

		// A watch that ends is restarted immediately, despite the earlier failures.
		api.expire()
		api.put(newPod("b", nil))
		wantTargets(t, p, "a http://10.0.0.1:80/metrics")
		time.Sleep(time.Second)
		synctest.Wait()
		wantTargets(t, p, "a http://10.0.0.1:80/metrics", "b http://10.0.0.1:80/metrics")
	})
}

// TestAPIServerGone checks that the last known targets stay while the API server is down, and
// that changes in the meantime are detected soon after.
func TestAPIServerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api fakeAPI
		p, log := api.start(t, nil)
		api.put(newPod("a", nil))
		api.goDown()
		time.Sleep(time.Hour)
		synctest.Wait()
		wantTargets(t, p, "a http://10.0.0.1:80/metrics")
		if err := p.Ready(); err != nil {
			t.Errorf("Ready returned %v, want nil, because the targets are known", err)
		}
		if err := p.Current(); err == nil || !strings.HasPrefix(err.Error(), "pods of all namespaces may be out of date: cannot reach the API server at ") {
			t.Errorf("Current returned %v, want that the API server cannot be reached", err)
		}
		if lines := log.with("level=ERROR", "cannot list or watch pods", "connection refused"); len(lines) != 1 {
			t.Errorf("got %d lines, want 1: %q", len(lines), log.lines)
		}
		api.remove(newPod("a", nil))
		api.put(newPod("b", nil))
		api.set(func() { api.isDown = false })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantTargets(t, p, "b http://10.0.0.1:80/metrics")
		if err := p.Current(); err != nil {
			t.Errorf("after the API server is back: Current returned %v", err)
		}
		api.put(newPod("c", nil))
		wantTargets(t, p, "b http://10.0.0.1:80/metrics", "c http://10.0.0.1:80/metrics")
	})
}

func TestNotReachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{isDown: true}
		p, _ := api.start(t, nil)
		if err := p.Ready(); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Ready returned %v, want why the API server cannot be reached", err)
		}
		api.set(func() { api.isDown = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Ready(); err != nil {
			t.Errorf("Ready returned %v", err)
		}
	})
}

func TestMetricsLint(t *testing.T) {
	registry := prometheus.NewRegistry()
	newPods(t, func(o *Options) { o.Registerer = registry })
	families, err := registry.Gather()
	must(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 || len(families) != 3 {
		t.Errorf("got %d families, problems %v, error %v", len(families), problems, err)
	}
	for _, event := range []string{"add", "update", "delete"} {
		counterOf(t, registry, "metrics_proxy_discovery_events_total", event)
	}
}

// TestStaleness checks the time for which the targets may have been out of date.
func TestStaleness(t *testing.T) {
	for name, api := range map[string]*fakeAPI{"list and watch": {}, "watch that starts with a list": {supportsWatchList: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, log := api.start(t, nil)
				stale := func(least, most time.Duration) {
					t.Helper()
					if got := p.views[0].staleness(); got < least || got > most {
						t.Errorf("got staleness %s, want %s to %s", got, least, most)
					}
				}
				stale(0, 0)
				time.Sleep(time.Hour)
				stale(0, 0)
				api.goDown()
				synctest.Wait()
				time.Sleep(10 * time.Minute)
				stale(10*time.Minute, 10*time.Minute)

				// It is back, but has lost its history, so only a new list helps.
				api.set(func() { api.isDown, api.listForbidden, api.watchListForbidden = false, true, true; api.version++ })
				time.Sleep(time.Minute)
				synctest.Wait()
				stale(11*time.Minute, 12*time.Minute)
				api.set(func() { api.listForbidden, api.watchListForbidden = false, false })
				time.Sleep(time.Minute)
				synctest.Wait()
				stale(0, 0)
				if lines := log.with("level=INFO", "watching pods again"); len(lines) == 0 {
					t.Errorf("the recovery was not logged: %q", log.lines)
				}
			})
		})
	}
	t.Run("polling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := fakeAPI{watchForbidden: true}
			p, _ := api.start(t, nil)
			time.Sleep(10*time.Minute + 59*time.Second)
			if got := p.views[0].staleness(); got != 59*time.Second {
				t.Errorf("got staleness %s, want the time since the last list", got)
			}
		})
	})
	t.Run("never reached", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := fakeAPI{isDown: true}
			p, _ := api.start(t, nil)
			time.Sleep(time.Hour)
			if got := p.views[0].staleness(); got != time.Hour {
				t.Errorf("got staleness %s, want the time since the start", got)
			}
		})
	})
}

// TestKnown checks that Known returns nil if listing a namespace is forbidden, and an error if
// its list is merely not complete yet.
func TestKnown(t *testing.T) {
	p := newPods(t, func(o *Options) { o.Namespaces = []string{"a", "b"} })
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	for _, test := range []struct {
		name    string
		change  func()
		isKnown bool
	}{
		{"no response yet", func() {}, false},
		{"one list", func() { must(t, p.views[0].Replace(nil, "1")) }, false},
		{"the other fails", func() { p.views[1].record("list", errors.New("down")) }, false},
		{"the other is forbidden", func() { p.views[1].record("list", forbidden) }, true},
		{"then the API server goes away", func() { p.views[1].record("list", errors.New("down")) }, true},
		{"both lists", func() { must(t, p.views[1].Replace(nil, "1")) }, true},
	} {
		test.change()
		if err := p.Known(); (err == nil) != test.isKnown {
			t.Errorf("%s: Known returned %v", test.name, err)
		}
	}
	all := newPods(t, nil)
	all.views[0].record("list", forbidden)
	if err := all.Known(); err == nil || !strings.Contains(err.Error(), `expected a ClusterRole with the rule apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]`) {
		t.Errorf("with every list forbidden: Known returned %v, want the missing rule", err)
	}
}

// reloads returns a change of Options after which the configuration that is loaded at the start
// has no token. Later it has this host and the token, or cannot be loaded if broken is not nil.
// The fake guards token and broken.
func (f *fakeAPI) reloads(host string, token *string, broken *error) func(*Options) {
	return func(o *Options) {
		atStart, isStart := o.Connect, true
		o.Connect = func() (*kubeapi.Client, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			switch {
			case isStart:
				isStart = false
				return atStart()
			case *broken != nil:
				return nil, *broken
			}
			return connect(&rest.Config{Host: host, BearerToken: *token, Transport: f.transport})()
		}
	}
}

// TestConfigurationIsReloaded checks that a token that changes after the start is used.
func TestConfigurationIsReloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{token: "new"}
		token, broken := "old", errors.New("cannot be read now")
		p, log := api.start(t, api.reloads("http://elsewhere", &token, &broken))
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Ready(); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("with the wrong token: Ready returned %v", err)
		}
		if len(log.with("level=WARN", "cannot be read now")) == 0 {
			t.Errorf("the configuration error was not logged: %q", log.lines)
		}
		api.set(func() { token, broken = "new", nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Ready(); err != nil {
			t.Errorf("with the right token: Ready returned %v", err)
		}
		p.views[0].record("list", &url.Error{Op: "Get", URL: "x", Err: errors.New("down")})
		if len(log.with("level=ERROR", "cannot reach the API server at http://elsewhere: down")) != 1 {
			t.Errorf("the log does not name the current API server: %q", log.lines)
		}
	})
}

// TestConfigurationIsReloadedBeforeRetry checks that a token that is repaired at any time is
// used within the longest delay between retries, 15 seconds. A repaired file that still
// cannot be used is logged once.
func TestConfigurationIsReloadedBeforeRetry(t *testing.T) {
	for name, supportsWatchList := range map[string]bool{"list and watch": false, "watch that starts with a list": true} {
		for phase := range 12 {
			t.Run(fmt.Sprintf("%s, %d s", name, phase), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api := fakeAPI{token: "new", supportsWatchList: supportsWatchList}
					token, broken := "old", errors.New("cannot be read now")
					p, log := api.start(t, api.reloads("http://api", &token, &broken))
					time.Sleep(5*time.Minute + time.Duration(phase)*time.Second)
					synctest.Wait()
					if lines := log.with("level=WARN", "cannot be read now"); len(lines) != 1 {
						t.Errorf("the configuration error was logged %d times, want once", len(lines))
					}
					api.set(func() { token, broken = "new", nil })
					time.Sleep(15 * time.Second)
					synctest.Wait()
					if err := p.Ready(); err != nil {
						t.Errorf("15 s after the token was repaired: %v", err)
					}
				})
			})
		}
	}
}

// TestConfigurationIsReloadedWhenRefused checks that a changed address of the API server is
// used although connections to the previous one are refused, which the reflector retries by
// itself.
func TestConfigurationIsReloadedWhenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{supportsWatchList: true}
		host := "http://api"
		p, _ := api.start(t, func(o *Options) {
			o.Connect = func() (*kubeapi.Client, error) {
				api.mu.Lock()
				defer api.mu.Unlock()
				return connect(&rest.Config{Host: host, Transport: api.transport})()
			}
		})
		api.goDown()
		time.Sleep(time.Minute)
		api.set(func() { host = "http://moved" })
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if err := p.Current(); err == nil || !strings.Contains(err.Error(), "http://moved") {
			t.Errorf("Current returned %v, want that the new address cannot be reached", err)
		}
	})
}

// TestLongFailures checks that a long text from the API server, or from a gateway, is
// shortened in messages and in the log.
func TestLongFailures(t *testing.T) {
	p := newPods(t, nil)
	log := new(logged)
	p.opts.Logger = slog.New(slog.NewTextHandler(log, nil))
	v := p.views[0]
	for _, text := range []string{"x", "\x00", "é\n", "\xff"} {
		for _, err := range []error{
			errors.New(strings.Repeat(text, 100_000)),
			apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New(strings.Repeat(text, 100_000))),
		} {
			v.record("list", err)
			if got := p.Ready(); got == nil || len(got.Error()) > 600 || !utf8.ValidString(got.Error()) {
				t.Errorf("Ready returned %.700v of %d bytes", got, len(got.Error()))
			}
		}
	}
	for _, line := range log.with("") {
		if len(line) > 1<<10 {
			t.Errorf("a line of %d bytes was logged: %.300s", len(line), line)
		}
	}
	if len(log.lines) == 0 {
		t.Error("nothing was logged")
	}
}

// TestManyNamespaces checks that messages do not grow with the number of namespaces.
func TestManyNamespaces(t *testing.T) {
	p := newPods(t, func(o *Options) {
		for i := range 1000 {
			o.Namespaces = append(o.Namespaces, fmt.Sprintf("namespace-%03d", i))
		}
	})
	err := p.Ready()
	if err == nil || len(err.Error()) > 4<<10 || !strings.HasSuffix(err.Error(), "\nand 980 more") {
		t.Errorf("Ready returned %v", err)
	}
}
