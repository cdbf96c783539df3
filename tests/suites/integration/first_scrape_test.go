package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// BenchmarkFirstScrape measures the time from the start of the process to the end of the first
// successful scrape, with 1,000 pods.
func BenchmarkFirstScrape(b *testing.B) {
	const pods = 1000
	var all []testbed.Pod
	for i := range pods {
		all = append(all, pod(b, "start", 5000+i, exporter.Replay([]byte("# TYPE a gauge\na{x=\"1\"} 1\n"))))
	}
	createPods(b, all...)
	for b.Loop() {
		proxy := startProxyWith(b, testbed.ProxyOptions{NoWait: true}, "start")
		response := firstScrape(b, proxy)
		b.StopTimer()
		if n := strings.Count(response, "} 1\n"); n != 2*pods {
			b.Fatalf("%d samples, want %d", n, 2*pods)
		}
		if _, err := proxy.Stop(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// firstScrape waits until the proxy is ready, and scrapes it.
func firstScrape(b *testing.B, proxy *testbed.Proxy) string {
	b.Helper()
	for range 10_000 {
		if resp, err := http.Get(proxy.URL("/-/ready")); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				_, response := get(b, proxy.URL("/metrics"), nil)
				return response
			}
		}
		time.Sleep(time.Millisecond)
	}
	b.Fatal(fmt.Errorf("the proxy does not become ready: %s", proxy.Log()))
	return ""
}
