package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// newAPI starts an API server that allows listing pods, except in the namespace forbidden,
// and does not allow watching them. addresses maps the names of its pods to their URLs;
// terminating lists those of them that are terminating.
func newAPI(t *testing.T, addresses map[string]string, terminating ...string) string {
	t.Helper()
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
	for name, address := range addresses {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		pod := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name), Annotations: map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": u.Port()}},
			Status:     corev1.PodStatus{PodIP: u.Hostname(), Phase: corev1.PodRunning},
		}
		if slices.Contains(terminating, name) {
			pod.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		}
		list.Items = append(list.Items, pod)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Has("watch") || strings.Contains(r.URL.Path, "/namespaces/forbidden/") {
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden})
			return
		}
		_ = json.NewEncoder(w).Encode(list)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// newTarget starts a target and returns its URL. It calls requested for each request, and
// responds after wait is closed.
func newTarget(t *testing.T, wait <-chan struct{}, requested func()) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requested()
		<-wait
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "m 1\n")
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// fetch sends requests until a response has status 200, and returns its body.
func fetch(t *testing.T, address string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get(address)
		if err != nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK {
			return string(body)
		}
	}
	t.Errorf("%s did not return status 200 within a minute", address)
	return ""
}

// TestServe checks that the proxy serves until its context ends, and that it completes the
// scrape in flight.
func TestServe(t *testing.T) {
	wait, requested := make(chan struct{}), make(chan struct{})
	pod := newTarget(t, wait, sync.OnceFunc(func() { close(requested) }))
	port, ownPort := freePort(t), freePort(t)
	environ := []string{"POD_LABEL_SELECTOR=app=web", "ALLOW_RESERVED_TARGETS=true", "KUBECONFIG=" + kubeconfig(t, newAPI(t, map[string]string{"web-0": pod})), "PORT=" + port, "METRICS_HTTP_PORT=" + ownPort}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx, nil, environ, io.Discard, io.Discard) }()

	address := "http://127.0.0.1:" + port
	if got := fetch(t, address+"/-/ready"); !strings.HasPrefix(got, "metrics-proxy is ready: 1 targets.\n") {
		t.Errorf("/-/ready returns %q", got)
	}
	if err := run(t.Context(), []string{"healthcheck"}, environ, io.Discard, io.Discard); err != nil {
		t.Errorf("healthcheck: %v", err)
	}
	if own := fetch(t, "http://127.0.0.1:"+ownPort+"/metrics"); !strings.Contains(own, `metrics_proxy_build_info{version="devel"} 1`) || !strings.Contains(own, "metrics_proxy_discovery_targets 1") {
		t.Errorf("the own metrics are\n%s", own)
	}

	scraped := make(chan string, 1)
	go func() { scraped <- fetch(t, address+"/metrics") }()
	<-requested
	cancel()
	select {
	case err := <-done:
		t.Fatalf("the proxy ended with a scrape in flight: %v", err)
	case <-time.After(50 * time.Millisecond): // a longer wait must not change the result
	}
	close(wait)
	if got, want := <-scraped, `m{k8s_pod_name="web-0",k8s_namespace="ns"} 1`; !strings.Contains(got, want) {
		t.Errorf("the scrape in flight returned\n%s\nwant it to contain %s", got, want)
	}
	if err := <-done; err != nil {
		t.Errorf("the proxy ended with %v", err)
	}
}

func TestScrapeOnce(t *testing.T) {
	up := newTarget(t, closed(), func() {})
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	scrapeOnce := func(pods map[string]string, terminating ...string) (string, error) {
		var stdout strings.Builder
		err := run(t.Context(), []string{"scrape"}, []string{"POD_LABEL_SELECTOR=app=web", "ALLOW_RESERVED_TARGETS=true", "KUBECONFIG=" + kubeconfig(t, newAPI(t, pods, terminating...))}, &stdout, io.Discard)
		return stdout.String(), err
	}
	out, err := scrapeOnce(map[string]string{"web-0": up})
	if err != nil || !strings.Contains(out, `m{k8s_pod_name="web-0",k8s_namespace="ns"} 1`) {
		t.Errorf("got error %v, printed\n%s", err, out)
	}
	out, err = scrapeOnce(map[string]string{"web-0": up, "web-1": gone.URL})
	if !strings.Contains(out, `up{k8s_pod_name="web-1",k8s_namespace="ns"} 0`) || !strings.Contains(out, `m{k8s_pod_name="web-0",k8s_namespace="ns"} 1`) {
		t.Errorf("printed\n%s", out)
	}
	if bad := (usageError{}); err == nil || errors.As(err, &bad) || !strings.HasPrefix(err.Error(), "target is down: namespace=ns pod=web-1 reason=connect: ") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got error %v, want one that names the target that is down, and the reason", err)
	}
	out, err = scrapeOnce(map[string]string{"web-0": up, "web-1": gone.URL}, "web-1")
	if err != nil || !strings.Contains(out, `m{k8s_pod_name="web-0",k8s_namespace="ns"} 1`) || strings.Contains(out, "web-1") {
		t.Errorf("with a terminating pod that is down: error %v, want none, printed\n%s", err, out)
	}
}

// TestScrapeOnceForbidden checks that the pods of the allowed namespaces are scraped, and
// that the error reports the forbidden namespace, even if no target is down.
func TestScrapeOnceForbidden(t *testing.T) {
	config := kubeconfig(t, newAPI(t, map[string]string{"web-0": newTarget(t, closed(), func() {})}))
	scrapeOnce := func(namespaces, timeout string) (string, error) {
		var stdout strings.Builder
		err := run(t.Context(), []string{"scrape"}, []string{"POD_LABEL_SELECTOR=app=web", "ALLOW_RESERVED_TARGETS=true", "NAMESPACES=" + namespaces, "SCRAPE_TIMEOUT=" + timeout, "KUBECONFIG=" + config}, &stdout, io.Discard)
		return stdout.String(), err
	}
	for namespaces, timeout := range map[string]string{"ns,forbidden": "1m", "forbidden": "300ms"} {
		out, err := scrapeOnce(namespaces, timeout)
		if want := "expected a Role in namespace forbidden with the rule"; err == nil || !strings.HasPrefix(err.Error(), "pods of namespace forbidden are not known yet: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "namespace ns") {
			t.Errorf("%s: got error %v, want it to contain %s", namespaces, err, want)
		}
		if is := strings.Contains(out, `m{k8s_pod_name="web-0",k8s_namespace="ns"} 1`); is != strings.Contains(namespaces, "ns,") {
			t.Errorf("%s: printed\n%s", namespaces, out)
		}
	}
}

// TestScrapeInterrupted checks that an interrupted scrape prints no partial exposition, and
// that the error contains the cause of the interruption.
func TestScrapeInterrupted(t *testing.T) {
	cause := errors.New("Ctrl-C was pressed")
	for name, newAPIFor := range map[string]func(t *testing.T, requested func()) (api string){
		"while a target is scraped": func(t *testing.T, requested func()) string {
			wait := make(chan struct{})
			up, hangs := newTarget(t, closed(), func() {}), newTarget(t, wait, requested)
			t.Cleanup(func() { close(wait) })
			return newAPI(t, map[string]string{"web-0": up, "web-1": hangs})
		},
		"before the pods are known": func(t *testing.T, requested func()) string {
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				requested()
				<-r.Context().Done()
			}))
			t.Cleanup(srv.Close)
			return srv.URL
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancelCause(t.Context())
			environ := []string{"POD_LABEL_SELECTOR=app=web", "ALLOW_RESERVED_TARGETS=true", "SCRAPE_TIMEOUT=1h", "KUBECONFIG=" + kubeconfig(t, newAPIFor(t, func() { interrupt(cause) }))}
			var stdout strings.Builder
			err := run(ctx, []string{"scrape"}, environ, &stdout, io.Discard)
			if bad := (usageError{}); !errors.Is(err, cause) || errors.As(err, &bad) || !strings.HasPrefix(err.Error(), "interrupted: ") {
				t.Errorf("got error %v, want interrupted, with the cause", err)
			}
			if stdout.Len() > 0 {
				t.Errorf("printed %q", stdout.String())
			}
		})
	}
}

// TestFallbackProtocol checks that FALLBACK_SCRAPE_PROTOCOL applies to responses without a
// Content-Type.
func TestFallbackProtocol(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "# TYPE m counter\nm_total 1 # {id=\"x\"} 1\n# EOF\n")
	}))
	t.Cleanup(srv.Close)
	api := newAPI(t, map[string]string{"web-0": srv.URL})
	for protocol, want := range map[string]string{"": "reason=content_type", "OpenMetricsText1.0.0": "", "PrometheusText0.0.4": "reason=parse"} {
		environ := []string{"POD_LABEL_SELECTOR=app=web", "ALLOW_RESERVED_TARGETS=true", "FALLBACK_SCRAPE_PROTOCOL=" + protocol, "KUBECONFIG=" + kubeconfig(t, api)}
		var stdout strings.Builder
		err := run(t.Context(), []string{"scrape"}, environ, &stdout, io.Discard)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("with %q: got error %v, want %q", protocol, err, want)
		}
		if got := strings.Contains(stdout.String(), "m_total{"); got != (want == "") {
			t.Errorf("with %q: printed\n%s", protocol, stdout.String())
		}
	}
}

// TestScrapeOnceWithoutAPI checks that scrape fails after SCRAPE_TIMEOUT if the API server
// cannot be reached, and that the error gives the reason.
func TestScrapeOnceWithoutAPI(t *testing.T) {
	environ := []string{"POD_LABEL_SELECTOR=app=web", "ALLOW_RESERVED_TARGETS=true", "SCRAPE_TIMEOUT=50ms", "KUBECONFIG=" + kubeconfig(t, "http://127.0.0.1:1")}
	err := run(t.Context(), []string{"scrape"}, environ, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "pods of all namespaces are not known yet") {
		t.Errorf("got error %v", err)
	}
}

func TestBoundConnections(t *testing.T) {
	for _, tt := range []struct {
		configured int
		memory     int64
		files      uint64
		want       int
	}{
		{512, 0, 0, 512},
		{512, 256 << 20, 1 << 20, 512},
		{512, 64 << 20, 1 << 20, 128},
		{100, 64 << 20, 1 << 20, 100},
		{512, 32 << 20, 0, 64},
		{512, 0, 64, 10},
		{512, 0, 3, 1},
		{512, 0, math.MaxUint64, 512}, // unlimited
	} {
		if got := boundConnections(tt.configured, tt.memory, tt.files, slog.New(slog.DiscardHandler)); got != tt.want {
			t.Errorf("%+v: got %d", tt, got)
		}
	}
}
