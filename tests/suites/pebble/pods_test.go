package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// healthy is the exporter of a healthy pod.
var healthy = exporter.Replay([]byte("# TYPE istio_requests_total counter\nistio_requests_total 42\n"))

// createPods creates a running pod for each handler, and returns a label selector of the form
// that the istio charms use.
func createPods(t *testing.T, handlers ...http.Handler) (selector string) {
	t.Helper()
	name := "pods-" + strconv.Itoa(freePort(t)) // a unique number
	label := "charms.canonical.com/istio." + name + ".telemetry"
	for i, handler := range handlers {
		address := testbed.Address(i)
		server, err := exporter.Start(address+":0", handler)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		err = shared.cluster.CreatePods(t.Context(), testbed.Pod{
			Namespace: name, Name: fmt.Sprintf("ztunnel-%d", i), Labels: map[string]string{label: "aggregated"},
			IPs: []string{address}, Annotations: testbed.ScrapeAnnotations(server.Port(), ""),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return label + "=aggregated"
}

var (
	upLine     = regexp.MustCompile(`(?m)^up\{k8s_pod_name="([^"]+)",k8s_namespace="[^"]+"\} ([01])$`)
	sampleLine = regexp.MustCompile(`(?m)^istio_requests_total\{k8s_pod_name="([^"]+)",k8s_namespace="[^"]+"\} 42$`)
)

// scrape scrapes the proxy once. It returns the names of the pods that are up, of those that
// are down, and of those with a sample.
func scrape(ctx context.Context, port int) (up, down, samples []string, err error) {
	status, body, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	if err != nil {
		return nil, nil, nil, err
	}
	if status != http.StatusOK {
		return nil, nil, nil, fmt.Errorf("the response is %d: %s", status, body)
	}
	for _, match := range upLine.FindAllStringSubmatch(body, -1) {
		if match[2] == "1" {
			up = append(up, match[1])
		} else {
			down = append(down, match[1])
		}
	}
	for _, match := range sampleLine.FindAllStringSubmatch(body, -1) {
		samples = append(samples, match[1])
	}
	if types := strings.Count(body, "# TYPE istio_requests_total counter\n"); types != min(len(samples), 1) {
		err = fmt.Errorf("%d # TYPE lines in the response, want 1 if there are samples:\n%s", types, body)
	}
	return up, down, samples, err
}

// merged scrapes the proxy once. It returns an error unless the response has exactly that
// number of pods, all up, with their samples.
func merged(ctx context.Context, port, pods int) error {
	up, down, samples, err := scrape(ctx, port)
	if err == nil && (len(up) != pods || len(down) != 0 || !slices.Equal(slices.Sorted(slices.Values(up)), slices.Sorted(slices.Values(samples)))) {
		err = fmt.Errorf("up %q, down %q, samples of %q: want %d pods, all up", up, down, samples, pods)
	}
	return err
}

// wantMerged waits until the proxy is ready and merged succeeds.
func wantMerged(t *testing.T, port, pods int) {
	t.Helper()
	wantReady(t, port)
	eventually(t, func() error { return merged(t.Context(), port, pods) })
}

func wantReady(t *testing.T, port int) {
	t.Helper()
	eventually(t, func() error {
		status, body, err := get(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/-/ready", port))
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("not ready: %d %s", status, body)
		}
		return err
	})
}

// wantRefused waits until nothing listens on the port.
func wantRefused(t *testing.T, port int) {
	t.Helper()
	var dialer net.Dialer
	eventually(t, func() error {
		connection, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = connection.Close()
			return fmt.Errorf("something listens on port %d", port)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		return nil
	})
}

// get sends a GET request and returns the status and the body.
func get(ctx context.Context, url string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	request.Close = true // an idle connection would fail after a restart of the service
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}
