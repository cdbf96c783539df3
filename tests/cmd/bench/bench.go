package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

const (
	startBound = time.Minute // for a process to become ready, on a busy machine
	stopBound  = 30 * time.Second
)

// A bench holds what all rows share: the cluster, the program under test and the bodies.
type bench struct {
	bed      *testbed.Bed
	cluster  *testbed.Cluster
	proxy    string            // path of the binary
	port     int               // of every target
	bases    map[string]string // paths of the base bodies, by name
	pods     map[int]bool      // the numbers of targets for which pods exist
	progress io.Writer
}

// newBench starts everything that the rows need. The caller must stop the bed, even after
// an error.
func newBench(ctx context.Context, bed *testbed.Bed, rows []row, progress io.Writer) (*bench, error) {
	b := &bench{bed: bed, pods: map[int]bool{}, progress: progress}
	var err error
	if b.proxy, err = b.buildProxy(ctx); err != nil {
		return nil, err
	}
	if b.port, err = testbed.FreePort(); err != nil {
		return nil, err
	}
	if b.cluster, err = bed.StartCluster(ctx, testbed.ClusterOptions{}); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, r := range rows {
		for _, base := range r.bases {
			names[base] = true
		}
		if err := b.ensurePods(ctx, r.targets); err != nil {
			return nil, err
		}
	}
	b.bases, err = b.collectBases(ctx, names)
	return b, err
}

// buildProxy builds metrics-proxy like `make build`.
func (b *bench) buildProxy(ctx context.Context) (string, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("cannot build metrics-proxy: %w", err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		return "", fmt.Errorf("cannot build metrics-proxy: %w", err)
	}
	output := filepath.Join(b.bed.Dir, "metrics-proxy")
	fmt.Fprintln(b.progress, "building metrics-proxy ...")
	process, err := b.bed.Start(testbed.Command{
		Name: "go-build", Path: path,
		Args: []string{"build", "-C", root, "-trimpath", "-ldflags", "-s -w", "-o", output, "./proxy"},
		Env:  append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off"),
	})
	if err != nil {
		return "", fmt.Errorf("cannot build metrics-proxy: %w", err)
	}
	code, err := process.Wait(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot build metrics-proxy: %w", err)
	}
	if code != 0 {
		return "", fmt.Errorf("cannot build metrics-proxy: exit code %d:\n%s", code, process.Stderr())
	}
	return output, nil
}

// ensurePods creates pods for that number of targets, unless they exist. All rows with
// that number of targets use them.
func (b *bench) ensurePods(ctx context.Context, targets int) error {
	if b.pods[targets] {
		return nil
	}
	fmt.Fprintf(b.progress, "creating %d pods ...\n", targets)
	pods := make([]testbed.Pod, targets)
	for i := range pods {
		pods[i] = testbed.Pod{
			Namespace: podSet(targets), Name: podName(i), Labels: map[string]string{"bench": podSet(targets)},
			IPs: []string{testbed.Address(i)}, Annotations: testbed.ScrapeAnnotations(b.port, "/metrics"),
		}
	}
	if err := b.cluster.CreatePods(ctx, pods...); err != nil {
		return err
	}
	b.pods[targets] = true
	return nil
}

func podName(target int) string { return fmt.Sprintf("pod-%d", target) }

// podSet returns the namespace of the pods, which is also the value of their label bench.
func podSet(targets int) string { return fmt.Sprintf("bench-%d", targets) }

// A program is one of the programs that are compared.
type program struct {
	name    string
	url     string
	process *testbed.Process
	proxy   *testbed.Proxy // nil for a baseline
}

// startProxy starts metrics-proxy for the pods with the label bench=SET.
func (b *bench) startProxy(ctx context.Context, set string) (*testbed.Proxy, error) {
	kubeconfig, err := b.cluster.Kubeconfig(b.cluster.Proxy, "")
	if err != nil {
		return nil, err
	}
	return b.bed.StartProxy(ctx, testbed.ProxyOptions{Binary: b.proxy, Env: map[string]string{
		"KUBECONFIG": kubeconfig, "POD_LABEL_SELECTOR": "bench=" + set,
		"SCRAPE_TIMEOUT": "60s", // the client's timeout is shorter
	}})
}

// startPrograms starts the exporter and the programs to compare, for one row. After an
// error some of them may be running; stopAll stops them.
func (b *bench) startPrograms(ctx context.Context, r row, l load) (exporter *testbed.Process, programs []program, err error) {
	loadFile := filepath.Join(b.bed.Dir, "load.json")
	if err := l.write(loadFile); err != nil {
		return nil, nil, err
	}
	exporter, err = b.startSelf(ctx, "exporter", fmt.Sprintf("127.0.0.1:%d", b.port), "-load="+loadFile)
	if err != nil {
		return nil, nil, err
	}
	proxy, err := b.startProxy(ctx, podSet(r.targets))
	if err != nil {
		return exporter, nil, err
	}
	programs = append(programs, program{name: "metrics-proxy", url: proxy.URL("/metrics"), process: proxy.Process, proxy: proxy})
	baselines := []string{"join"}
	if r.expfmt {
		baselines = append(baselines, "expfmt")
	}
	targets := filepath.Join(b.bed.Dir, "targets")
	if err := os.WriteFile(targets, b.targetURLs(r.targets), 0o644); err != nil {
		return exporter, programs, fmt.Errorf("cannot write targets: %w", err)
	}
	for _, name := range baselines {
		port, err := testbed.FreePort()
		if err != nil {
			return exporter, programs, err
		}
		address := "127.0.0.1:" + strconv.Itoa(port)
		process, err := b.startSelf(ctx, name, address, "-targets="+targets)
		if err != nil {
			return exporter, programs, err
		}
		programs = append(programs, program{name: name, url: "http://" + address + "/metrics", process: process})
	}
	return exporter, programs, nil
}

func (b *bench) targetURLs(targets int) []byte {
	var urls strings.Builder
	for i := range targets {
		fmt.Fprintf(&urls, "http://%s:%d/metrics\n", testbed.Address(i), b.port)
	}
	return []byte(urls.String())
}

// startSelf starts this program with a subcommand and waits until it is ready. If it does
// not become ready, startSelf stops it.
func (b *bench) startSelf(ctx context.Context, subcommand, address string, args ...string) (*testbed.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", subcommand, err)
	}
	process, err := b.bed.Start(testbed.Command{
		Name: subcommand, Path: self, Args: append([]string{subcommand, "-listen=" + address}, args...),
	})
	if err != nil {
		return nil, err
	}
	err = waitFor(ctx, process, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/-/ready", nil)
		if err != nil {
			return err
		}
		request.Close = true
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	if err != nil {
		_, stopErr := process.Stop(stopBound)
		return nil, errors.Join(fmt.Errorf("cannot start %s: %w", subcommand, err), stopErr)
	}
	return process, nil
}

// waitFor calls probe until it returns nil, the process exits, or startBound is over.
func waitFor(ctx context.Context, process *testbed.Process, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-process.Exited():
			return fmt.Errorf("the process exited: %w\n%s", err, process.Stderr())
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stopAll stops the processes that startPrograms started.
func stopAll(exporter *testbed.Process, programs []program) error {
	var errs []error
	for _, p := range programs {
		_, err := p.process.Stop(stopBound)
		errs = append(errs, err)
	}
	if exporter != nil {
		_, err := exporter.Stop(stopBound)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
