package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// baseSizes are the body sizes of busy components, in bytes. The components of the test bed
// are idle, so their bodies are resized to these sizes; see resize.
var baseSizes = map[string]int{nodeExporter: 60_000, etcd: 147_000, apiServer: 2_300_000}

// tenPrograms returns the bases of the mixed row. In this row the body of the API server is
// not resized.
func tenPrograms() []string {
	return []string{
		nodeExporter, etcd, realSize + apiServer, "prometheus", "kwok", "metrics-server",
		"kube-scheduler", "kube-controller-manager", "metrics-proxy", "go-program",
	}
}

// realSize is the prefix of the name of a base that is not resized.
const realSize = "real "

// component returns the name of the component that exposes the base.
func component(base string) string {
	if base == realSize+apiServer {
		return apiServer
	}
	return base
}

// collectBases scrapes each component and writes the bodies to files. It returns the paths by
// the names of the bases. It stops the components that it started, but not the cluster.
func (b *bench) collectBases(ctx context.Context, names map[string]bool) (map[string]string, error) {
	files := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		body, err := b.collectBody(ctx, component(name))
		if err != nil {
			return nil, fmt.Errorf("cannot collect the metrics of %s: %w", name, err)
		}
		original := len(body)
		if size, ok := baseSizes[name]; ok {
			if body, err = resize(body, size); err != nil {
				return nil, fmt.Errorf("cannot resize the metrics of %s: %w", name, err)
			}
		}
		fmt.Fprintf(b.progress, "%s: %d bytes, %d samples (%d bytes in the test bed)\n", name, len(body), countSamples(body), original)
		files[name] = filepath.Join(b.bed.Dir, name+".prom")
		if err := os.WriteFile(files[name], body, 0o644); err != nil {
			return nil, fmt.Errorf("cannot save the metrics of %s: %w", name, err)
		}
	}
	return files, nil
}

func (b *bench) collectBody(ctx context.Context, name string) ([]byte, error) {
	switch name {
	case nodeExporter:
		return b.bed.NodeExporterPayload(ctx)
	case etcd:
		return b.fetch(ctx, b.cluster.Etcd+"/metrics")
	case apiServer:
		return b.fetch(ctx, b.cluster.Server+"/metrics")
	case "prometheus":
		prometheus, err := b.bed.StartPrometheus(ctx, testbed.PrometheusOptions{Config: "scrape_configs: []"})
		if err != nil {
			return nil, err
		}
		return b.fetchAndStop(ctx, prometheus.Process, prometheus.URL+"/metrics")
	case "metrics-proxy":
		proxy, err := b.startProxy(ctx, "none")
		if err != nil {
			return nil, err
		}
		return b.fetchAndStop(ctx, proxy.Process, proxy.OwnMetricsURL())
	case "go-program":
		recorder := httptest.NewRecorder()
		promhttp.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		return recorder.Body.Bytes(), nil
	}
	return b.collectFromController(ctx, name)
}

// collectFromController starts a component that is a client of the API server, scrapes it,
// and stops it.
func (b *bench) collectFromController(ctx context.Context, name string) ([]byte, error) {
	binary, err := testbed.Binary(ctx, name, b.progress)
	if err != nil {
		return nil, err
	}
	admin, err := b.cluster.Kubeconfig(b.cluster.Admin, "")
	if err != nil {
		return nil, err
	}
	free, err := testbed.FreePort()
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(free)
	scheme := "https"
	args := []string{
		"--kubeconfig=" + admin, "--authentication-kubeconfig=" + admin, "--authorization-kubeconfig=" + admin,
		"--authorization-always-allow-paths=/metrics", "--bind-address=127.0.0.1", "--secure-port=" + port,
		"--cert-dir=" + filepath.Join(b.bed.Dir, name),
	}
	switch name {
	case "kube-scheduler":
		args = append(args, "--leader-elect=false")
	case "kube-controller-manager":
		args = append(args, "--leader-elect=false", "--controllers=ttl-after-finished-controller")
	case "kwok":
		stages, err := filepath.Abs("suites/integration/testdata/kwok.yaml")
		if err != nil {
			return nil, err
		}
		scheme = "http"
		args = []string{"--kubeconfig=" + admin, "--manage-all-nodes", "--node-ip=127.0.0.1", "--server-address=127.0.0.1:" + port, "--config=" + stages}
	}
	process, err := b.bed.Start(testbed.Command{Name: name, Path: binary, Args: args})
	if err != nil {
		return nil, err
	}
	return b.fetchAndStop(ctx, process, scheme+"://127.0.0.1:"+port+"/metrics")
}

// fetchAndStop waits until the process responds, and stops it.
func (b *bench) fetchAndStop(ctx context.Context, process *testbed.Process, url string) ([]byte, error) {
	var body []byte
	err := waitFor(ctx, process, func(ctx context.Context) error {
		var err error
		body, err = b.fetch(ctx, url)
		return err
	})
	_, _ = process.Stop(stopBound) // some are slow to stop, which does not matter here
	return body, err
}

// fetch scrapes a component in the text format. The certificate may be self-signed.
func (b *bench) fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", acceptText+";version=0.0.4;q=0.9,*/*;q=0.1") // kwok rejects text/plain without a version
	request.Header.Set("Authorization", "Bearer "+b.cluster.Admin.Token)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s returned %s", url, response.Status)
	}
	return io.ReadAll(response.Body)
}
