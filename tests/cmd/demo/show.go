package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

const (
	query    = `up{k8s_pod_name!=""}` // the state of each pod, not of the proxy itself
	maxLines = 10                     // printed of a long list
)

// show prints what the proxy and Prometheus say, once they agree and are right.
func (d *demo) show(ctx context.Context, out io.Writer) error {
	fmt.Fprintln(out, "waiting for Prometheus to have scraped the proxy")
	body, answer, err := d.agreed(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nmetrics-proxy   %s\n", d.proxy.URL("/metrics"))
	fmt.Fprintf(out, "  about itself  %s\n", d.proxy.OwnMetricsURL())
	fmt.Fprintf(out, "Prometheus      %s/api/v1/query?query=up (it has no web pages)\n", d.prometheus.URL)
	if d.kubeconfig != "" {
		fmt.Fprintf(out, "Kubernetes      export KUBECONFIG=%s\n", d.kubeconfig)
	}
	d.printExposition(out, string(body))
	printTable(out, answer)
	return nil
}

// agreed waits until Prometheus answers the query with exactly the pods that the
// proxy reports, and with the values that the demo expects if it knows the pods.
func (d *demo) agreed(ctx context.Context) (body []byte, answer ups, err error) {
	var reported ups
	var failure error // of the last scrape
	_, err = d.prometheus.WaitFor(ctx, query, time.Minute, func(samples []testbed.Sample) bool {
		if answer = upsOf(samples); len(answer) != len(samples) || len(answer) == 0 {
			return false // a pod is there twice, or none is
		}
		if body, failure = d.proxy.Metrics(ctx); failure != nil {
			return false
		}
		reported = upsIn(string(body))
		return maps.Equal(answer, reported) && (d.want == nil || maps.Equal(answer, d.want))
	})
	switch {
	case err == nil:
		return body, answer, nil
	case failure != nil:
		return nil, nil, failure
	case d.want != nil:
		return nil, nil, fmt.Errorf("the pods are not as they must be:\nwant              %v\nmetrics-proxy has %v\nPrometheus has    %v\n%w",
			d.want, reported, answer, err)
	default:
		return nil, nil, fmt.Errorf("no pods in Prometheus, or others than metrics-proxy has: does a pod match POD_LABEL_SELECTOR=%s and carry the annotation prometheus.io/scrape: \"true\"?\n%w",
			d.selector, err)
	}
}

// printExposition prints some families of the exposition, each with a few samples.
func (d *demo) printExposition(out io.Writer, body string) {
	fmt.Fprintf(out, "\n%d lines of metrics come out; some of them:\n", strings.Count(body, "\n"))
	for _, name := range d.families {
		lines := family(body, name)
		for _, line := range lines[:min(len(lines), maxLines)] {
			fmt.Fprintln(out, "  "+line)
		}
		if more := len(lines) - maxLines; more > 0 {
			fmt.Fprintf(out, "  ... and %d more lines\n", more)
		}
	}
}

func printTable(out io.Writer, answer ups) {
	fmt.Fprintf(out, "\nPrometheus answers %s with:\n", query)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "  NAMESPACE\tPOD\tUP")
	names := slices.Sorted(maps.Keys(answer))
	for _, name := range names[:min(len(names), maxLines)] {
		namespace, pod, _ := strings.Cut(name, "/")
		fmt.Fprintf(table, "  %s\t%s\t%g\n", namespace, pod, answer[name])
	}
	_ = table.Flush() // like any other line to out
	if more := len(names) - maxLines; more > 0 {
		fmt.Fprintf(out, "  ... and %d more pods\n", more)
	}
}
