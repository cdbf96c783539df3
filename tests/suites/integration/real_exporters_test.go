package integration

import (
	"crypto/tls"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/suites/differential"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// TestTenPrograms merges the expositions of ten real programs, in every format that they
// support, from up to 100 pods. In every response format, Prometheus's parser must read the
// same series from the merged exposition as from the bodies, with labels, types and
// exemplars.
func TestTenPrograms(t *testing.T) {
	urls := startPrograms(t)
	if len(urls) != 10 {
		t.Fatalf("%d programs, want 10", len(urls))
	}
	bodies := map[string][]differential.Body{} // by Content-Type
	for name, url := range urls {
		for _, contentType := range []string{differential.TextFormat, differential.OpenMetrics, differential.Protobuf} {
			body := fetch(t, url, contentType)
			t.Logf("%s: %d bytes for %.30s", name, len(body.Text), body.ContentType)
			bodies[body.ContentType] = append(bodies[body.ContentType], body)
		}
	}
	var pods, mixed []differential.Body
	for contentType, all := range bodies {
		t.Run(contentType, func(t *testing.T) { differential.CheckWithTypes(t, all...) })
		mixed = append(mixed, all...)
	}
	for i := range 100 {
		pods = append(pods, mixed[i%len(mixed)])
	}
	t.Run("mixed", func(t *testing.T) { differential.Check(t, pods...) })
}

// startPrograms returns the URL of each program's metrics.
func startPrograms(t *testing.T) map[string]string {
	t.Helper()
	admin, err := shared.cluster.Kubeconfig(shared.cluster.Admin, "")
	must(t, err)
	stages, err := filepath.Abs("testdata/kwok.yaml")
	must(t, err)
	delegated := func(port string) []string {
		return []string{
			"--kubeconfig=" + admin, "--authentication-kubeconfig=" + admin, "--authorization-kubeconfig=" + admin,
			"--authorization-always-allow-paths=/metrics", "--bind-address=127.0.0.1", "--secure-port=" + port, "--cert-dir=" + t.TempDir(),
		}
	}
	urls := map[string]string{
		"kube-scheduler": startProgram(t, "kube-scheduler", "https", func(port string) []string {
			return append(delegated(port), "--leader-elect=false")
		}),
		"kube-controller-manager": startProgram(t, "kube-controller-manager", "https", func(port string) []string {
			return append(delegated(port), "--leader-elect=false", "--controllers=ttl-after-finished-controller")
		}),
		"metrics-server": startProgram(t, "metrics-server", "https", delegated),
		"kwok": startProgram(t, "kwok", "http", func(port string) []string {
			return []string{"--kubeconfig=" + admin, "--manage-all-nodes", "--node-ip=127.0.0.1", "--server-address=127.0.0.1:" + port, "--config=" + stages}
		}),
		"kube-apiserver": shared.cluster.Server + "/metrics",
		"etcd":           shared.cluster.Etcd + "/metrics",
		"prometheus":     startPrometheus(t, "scrape_configs: []").URL + "/metrics",
		"metrics-proxy":  startProxy(t, "programs", nil).OwnMetricsURL(),
	}
	node, err := shared.bed.StartNodeExporter(t.Context(), "127.0.0.1")
	must(t, err)
	urls["node_exporter"] = node.URL()
	app, err := exporter.Start("127.0.0.1:0", application())
	must(t, err)
	t.Cleanup(app.Close)
	urls["application"] = "http://" + app.Address() + "/metrics"
	return urls
}

// startProgram starts a component that serves metrics on a free port, and returns the URL.
func startProgram(t *testing.T, name, scheme string, args func(port string) []string) (url string) {
	t.Helper()
	binary, err := testbed.Binary(t.Context(), name, os.Stderr)
	must(t, err)
	port, err := testbed.FreePort()
	must(t, err)
	process, err := shared.bed.Start(testbed.Command{Name: name, Path: binary, Args: args(fmt.Sprint(port))})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s: %s", name, process.Stderr())
		}
		_, _ = process.Stop(30 * time.Second) // some are slow to stop, which does not matter here
	})
	url = fmt.Sprintf("%s://127.0.0.1:%d/metrics", scheme, port)
	eventually(t, func() error {
		_, _, err := tryFetch(t, url, differential.TextFormat)
		return err
	})
	return url
}

// fetch scrapes a program with a Content-Type of the package differential as the preferred
// format. The ContentType of the result is one of these three as well.
func fetch(t *testing.T, url, accept string) differential.Body {
	t.Helper()
	text, contentType, err := tryFetch(t, url, accept)
	must(t, err)
	mediaType, _, err := mime.ParseMediaType(contentType)
	must(t, err)
	for _, known := range []string{differential.TextFormat, differential.OpenMetrics, differential.Protobuf} {
		if knownType, _, _ := mime.ParseMediaType(known); knownType == mediaType {
			return differential.Body{Text: text, ContentType: known}
		}
	}
	t.Fatalf("%s returns %s", url, contentType)
	return differential.Body{}
}

func tryFetch(t *testing.T, url, accept string) (body []byte, contentType string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	req.Header.Set("Accept", accept+";q=0.9,*/*;q=0.1") // like the proxy
	req.Header.Set("Authorization", "Bearer "+shared.cluster.Admin.Token)
	// The programs have self-signed certificates, and listen on loopback addresses.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%s returns %s", url, resp.Status)
	}
	body, err = io.ReadAll(resp.Body)
	return body, resp.Header.Get("Content-Type"), err
}
