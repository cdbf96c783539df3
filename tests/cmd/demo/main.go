// Command demo demonstrates metrics-proxy on this machine: it starts a Kubernetes API
// server with a few pods, the proxy, and a Prometheus that scrapes the proxy, and prints
// the results. Run it anywhere inside the repository. It needs Linux and Go.
//
// With DEMO_SECONDS it stops after that time. With KUBECONFIG (and KUBE_CONTEXT) it uses
// that cluster and starts only the proxy and Prometheus; POD_LABEL_SELECTOR then selects
// the pods.
//
// DEMO_KUBECONFIG is the path of a kubeconfig file that demo writes once all results are
// correct; until then the file does not exist. Its user may read the pods of the demo's own
// cluster. The file is readable by every user.
//
// The exit code is 0 if the results are correct, 1 if not, and 2 if a setting is invalid.
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
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills the program
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

// run starts and shows everything, and waits. It returns when ctx is cancelled. That is an
// error only if DEMO_SECONDS is set.
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
		err = copyAtomically(demo.readerKubeconfig, settings.kubeconfig)
	}
	switch {
	case ctx.Err() != nil && settings.duration != 0:
		return errors.New("interrupted before all results were shown")
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	return demo.wait(ctx, settings.duration, out)
}

// A demo holds the running programs.
type demo struct {
	proxy      *testbed.Proxy
	prometheus *testbed.Prometheus
	selector   string   // label selector of the pods
	families   []string // families to print

	// Only if the demo has started its own cluster:
	kubeconfig       string // of the administrator
	readerKubeconfig string // of a user that may read pods
	want             ups    // expected values of up; nil if unknown
}

// copyAtomically copies a file. The copy never has partial content, and every user can read
// it.
func copyAtomically(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".part", content, 0o644); err != nil { // the credentials are valid only while the demo runs
		return err
	}
	return os.Rename(to+".part", to)
}

// wait returns after duration, when ctx is cancelled, or when a process exits by itself,
// which is an error. A duration of 0 means no limit.
func (d *demo) wait(ctx context.Context, duration time.Duration, out io.Writer) error {
	var over <-chan time.Time
	if duration != 0 {
		fmt.Fprintf(out, "\nThe demo stops in %s. Ctrl-C stops it now.\n", duration)
		over = time.After(duration)
	} else {
		fmt.Fprintln(out, "\nCtrl-C stops the demo.")
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-d.proxy.Process.Exited():
		return errors.New("the proxy exited; its log:\n" + d.proxy.Log())
	case <-d.prometheus.Process.Exited():
		return errors.New("Prometheus exited; its log:\n" + d.prometheus.Process.Stderr())
	}
	return nil
}
