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
	query    = `up{k8s_pod_name!=""}` // the up of each pod, without Prometheus's up of the proxy
	maxLines = 10                     // maximum number of lines to print per list
)

// show waits until the proxy and Prometheus report the expected results, and prints them.
func (d *demo) show(ctx context.Context, out io.Writer) error {
	fmt.Fprintln(out, "waiting until Prometheus has scraped the proxy")
	body, result, err := d.waitForResults(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nmetrics-proxy   %s\n", d.proxy.URL("/metrics"))
	fmt.Fprintf(out, "  own metrics   %s\n", d.proxy.OwnMetricsURL())
	fmt.Fprintf(out, "Prometheus      %s/api/v1/query?query=up (built without the web UI)\n", d.prometheus.URL)
	if d.kubeconfig != "" {
		fmt.Fprintf(out, "Kubernetes      export KUBECONFIG=%s\n", d.kubeconfig)
	}
	d.printExposition(out, string(body))
	printTable(out, result)
	return nil
}

// waitForResults waits until Prometheus returns for the query exactly the pods and values
// that the proxy reports, and the expected values if they are known.
func (d *demo) waitForResults(ctx context.Context) (body []byte, result ups, err error) {
	var reported ups
	var failure error // error of the last scrape
	_, err = d.prometheus.WaitFor(ctx, query, time.Minute, func(samples []testbed.Sample) bool {
		if result = upsOf(samples); len(result) != len(samples) || len(result) == 0 {
			return false // a pod is duplicated, or there are no pods
		}
		if body, failure = d.proxy.Metrics(ctx); failure != nil {
			return false
		}
		reported = upsIn(string(body))
		return maps.Equal(result, reported) && (d.want == nil || maps.Equal(result, d.want))
	})
	switch {
	case err == nil:
		return body, result, nil
	case failure != nil:
		return nil, nil, failure
	case d.want != nil:
		return nil, nil, fmt.Errorf("unexpected values of up:\nexpected          %v\nmetrics-proxy has %v\nPrometheus has    %v\n%w",
			d.want, reported, result, err)
	default:
		return nil, nil, fmt.Errorf("no pods in Prometheus, or other pods than in metrics-proxy: does a pod match POD_LABEL_SELECTOR=%s and have the annotation prometheus.io/scrape: \"true\"?\n%w",
			d.selector, err)
	}
}

// printExposition prints a few families of the exposition, at most maxLines lines of each.
func (d *demo) printExposition(out io.Writer, body string) {
	fmt.Fprintf(out, "\nThe proxy returns %d lines of metrics, for example:\n", strings.Count(body, "\n"))
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

func printTable(out io.Writer, result ups) {
	fmt.Fprintf(out, "\nResult of %s in Prometheus:\n", query)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "  NAMESPACE\tPOD\tUP")
	names := slices.Sorted(maps.Keys(result))
	for _, name := range names[:min(len(names), maxLines)] {
		namespace, pod, _ := strings.Cut(name, "/")
		fmt.Fprintf(table, "  %s\t%s\t%g\n", namespace, pod, result[name])
	}
	_ = table.Flush() // errors of out are ignored everywhere
	if more := len(names) - maxLines; more > 0 {
		fmt.Fprintf(out, "  ... and %d more pods\n", more)
	}
}
