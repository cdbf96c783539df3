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

// baseSizes are those of the bodies of busy components. Those of the test bed, which
// are not busy, are grown or cut to that; see resize.
var baseSizes = map[string]int{nodeExporter: 60_000, etcd: 147_000, apiServer: 2_300_000}

// tenPrograms are the bases of the mixed row. The body of the API server is the one
// of the test bed there, not that of baseSizes.
func tenPrograms() []string {
	return []string{
		nodeExporter, etcd, realSize + apiServer, "prometheus", "kwok", "metrics-server",
		"kube-scheduler", "kube-controller-manager", "metrics-proxy", "go-program",
	}
}

// realSize before the name of a base means that it is not resized.
const realSize = "real "

// component is the program that answers with the base.
func component(base string) string {
	if base == realSize+apiServer {
		return apiServer
	}
	return base
}

// takeBases asks each component for its metrics, and returns the files with the
// answers by the names of the bases. The components run no longer then, but the
// cluster does.
func (b *bench) takeBases(ctx context.Context, names map[string]bool) (map[string]string, error) {
	files := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		body, err := b.takeBody(ctx, component(name))
		if err != nil {
			return nil, fmt.Errorf("cannot take the metrics of %s: %w", name, err)
		}
		taken := len(body)
		if size, ok := baseSizes[name]; ok {
			if body, err = resize(body, size); err != nil {
				return nil, fmt.Errorf("cannot resize the metrics of %s: %w", name, err)
			}
		}
		fmt.Fprintf(b.progress, "%s: %d bytes, %d samples (the test bed's: %d bytes)\n", name, len(body), countSamples(body), taken)
		files[name] = filepath.Join(b.bed.Dir, name+".prom")
		if err := os.WriteFile(files[name], body, 0o644); err != nil {
			return nil, fmt.Errorf("cannot keep the metrics of %s: %w", name, err)
		}
	}
	return files, nil
}

func (b *bench) takeBody(ctx context.Context, name string) ([]byte, error) {
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
		return b.fetchLast(ctx, prometheus.Process, prometheus.URL+"/metrics")
	case "metrics-proxy":
		proxy, err := b.startProxy(ctx, "none")
		if err != nil {
			return nil, err
		}
		return b.fetchLast(ctx, proxy.Process, proxy.OwnMetricsURL())
	case "go-program":
		recorder := httptest.NewRecorder()
		promhttp.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		return recorder.Body.Bytes(), nil
	}
	return b.takeFromController(ctx, name)
}

// takeFromController starts a program that works on the API server.
func (b *bench) takeFromController(ctx context.Context, name string) ([]byte, error) {
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
	return b.fetchLast(ctx, process, scheme+"://127.0.0.1:"+port+"/metrics")
}

// fetchLast waits until the process answers, and stops it.
func (b *bench) fetchLast(ctx context.Context, process *testbed.Process, url string) ([]byte, error) {
	var body []byte
	err := waitFor(ctx, process, func(ctx context.Context) error {
		var err error
		body, err = b.fetch(ctx, url)
		return err
	})
	_, _ = process.Stop(stopBound) // some are slow to end, which is no matter here
	return body, err
}

// fetch asks a component for text. Its certificate may be one that it made itself.
func (b *bench) fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", acceptText+";version=0.0.4;q=0.9,*/*;q=0.1") // kwok refuses a plain text/plain
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
		return nil, fmt.Errorf("%s answers %s", url, response.Status)
	}
	return io.ReadAll(response.Body)
}
