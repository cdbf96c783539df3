// Command demo shows metrics-proxy at work on this machine: it starts a Kubernetes
// API server with a few pods, the proxy, and a Prometheus that scrapes it, and prints
// what comes out. Run it anywhere inside the repository. It needs Linux and Go.
//
// DEMO_SECONDS ends it after that time. With KUBECONFIG (and KUBE_CONTEXT) it uses
// that cluster and starts only the proxy and Prometheus; POD_LABEL_SELECTOR then says
// which pods.
//
// DEMO_KUBECONFIG names a file for the kubeconfig of a user that may read the pods of the
// demo's own cluster. It is written, and every user may read it, once all that is shown is
// right; until then there is no such file.
//
// It exits with 0 only if what it shows is right, 1 if not, 2 for a wrong setting.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	settings, err := readSettings(os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	if err := run(ctx, settings, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run shows everything and waits. A cancelled ctx ends it; that is an error only if
// somebody counts on what was not shown yet.
func run(ctx context.Context, settings settings, out io.Writer) (err error) {
	bed, err := testbed.New(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()

	demo, err := start(ctx, bed, settings, out)
	if err == nil {
		err = demo.show(ctx, out)
	}
	if err == nil && settings.kubeconfig != "" {
		err = copyWhole(demo.readerKubeconfig, settings.kubeconfig)
	}
	switch {
	case ctx.Err() != nil && settings.duration != 0:
		return errors.New("interrupted before everything was shown")
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	return demo.wait(ctx, settings.duration, out)
}

// A demo is what runs once all is started.
type demo struct {
	proxy      *testbed.Proxy
	prometheus *testbed.Prometheus
	selector   string   // of the pods
	families   []string // to print some lines of

	// With a cluster of the demo's own:
	kubeconfig       string // of the administrator
	readerKubeconfig string // of a user that may read pods
	want             ups    // what must be reported; nil if the pods are not known
}

// copyWhole makes the copy appear with its whole content, for every user to read.
func copyWhole(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".part", content, 0o644); err != nil { // of a cluster that ends with the demo
		return err
	}
	return os.Rename(to+".part", to)
}

// wait returns after duration, at the end of ctx, or if a process ends by itself,
// which is an error. Duration 0 means no limit.
func (d *demo) wait(ctx context.Context, duration time.Duration, out io.Writer) error {
	var over <-chan time.Time
	if duration != 0 {
		fmt.Fprintf(out, "\nThis ends in %s. Ctrl-C stops everything.\n", duration)
		over = time.After(duration)
	} else {
		fmt.Fprintln(out, "\nCtrl-C stops everything.")
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-d.proxy.Process.Exited():
		return errors.New("the proxy ended by itself; its log:\n" + d.proxy.Log())
	case <-d.prometheus.Process.Exited():
		return errors.New("Prometheus ended by itself; its log:\n" + d.prometheus.Process.Stderr())
	}
	return nil
}
