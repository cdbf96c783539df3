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

// BenchmarkFirstScrape measures the time from the start of the process to the end
// of the first good scrape, with 1,000 pods known to the API server.
func BenchmarkFirstScrape(b *testing.B) {
	const pods = 1000
	var all []testbed.Pod
	for i := range pods {
		all = append(all, pod(b, "start", 5000+i, exporter.Replay([]byte("# TYPE a gauge\na{x=\"1\"} 1\n"))))
	}
	createPods(b, all...)
	for b.Loop() {
		proxy := startProxyWith(b, testbed.ProxyOptions{NoWait: true}, "start")
		answer := firstAnswer(b, proxy)
		b.StopTimer()
		if n := strings.Count(answer, "} 1\n"); n != 2*pods {
			b.Fatalf("%d samples, want %d", n, 2*pods)
		}
		if _, err := proxy.Stop(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// firstAnswer asks until there is one.
func firstAnswer(b *testing.B, proxy *testbed.Proxy) string {
	b.Helper()
	for range 10_000 {
		if resp, err := http.Get(proxy.URL("/-/ready")); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				_, answer := get(b, proxy.URL("/metrics"), nil)
				return answer
			}
		}
		time.Sleep(time.Millisecond)
	}
	b.Fatal(fmt.Errorf("no answer: %s", proxy.Log()))
	return ""
}
