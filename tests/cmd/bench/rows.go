package main

import (
	"fmt"
	"time"
)

// A row is a row of the table. It specifies the bodies of the targets and the request of the
// client.
type row struct {
	name        string
	bases       []string // names of the base bodies
	targets     int
	variation   variation
	openMetrics bool // format of the targets' bodies; text if false
	accept      string
	gzip        bool
	expfmt      bool // compare with the baseline expfmt too
}

const (
	acceptText = "text/plain"
	// acceptPrometheus is the Accept header of Prometheus 3.
	acceptPrometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7," +
		"application/openmetrics-text;version=0.0.1;q=0.6," +
		"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5," +
		"text/plain;version=0.0.4;q=0.4,*/*;q=0.3"
)

// Names of bases, which are part of the names of rows. Their sizes are in baseSizes.
const (
	nodeExporter = "node_exporter"
	etcd         = "etcd"
	apiServer    = "kube-apiserver"
)

var (
	same   = variation{}
	random = variation{RandomValues: true}
	few    = variation{RandomValues: true, Share: 0.05}
	many   = variation{RandomValues: true, Share: 0.4}
)

func rows() []row {
	var all []row
	for _, base := range []string{nodeExporter, etcd, apiServer} {
		for _, v := range []variation{same, few, many} {
			for _, gzip := range []bool{false, true} {
				all = append(all, row{
					name:  fmt.Sprintf("%s, %s, %s", base, v, coding(gzip)),
					bases: []string{base}, targets: 100, variation: v, accept: acceptText, gzip: gzip,
					// expfmt is slow, so it is measured for some rows only.
					expfmt: !gzip && (base == nodeExporter || v == few),
				})
			}
		}
	}
	all = append(all, row{
		name: "ten programs, 5 %, plain", bases: tenPrograms(), targets: 100, variation: few, accept: acceptText, expfmt: true,
	})
	for _, base := range []string{nodeExporter, apiServer} {
		for _, v := range []variation{same, many} {
			for _, openMetrics := range []bool{false, true} {
				from := "text"
				if openMetrics {
					from = "OpenMetrics"
				}
				all = append(all, row{
					name:  fmt.Sprintf("%s, %s, OpenMetrics of %s", base, v, from),
					bases: []string{base}, targets: 100, variation: v, accept: acceptPrometheus, openMetrics: openMetrics,
				})
			}
		}
	}
	for _, targets := range []int{10, 100, 1000, 5000} {
		all = append(all, row{
			name:  fmt.Sprintf("%s, %d targets", nodeExporter, targets),
			bases: []string{nodeExporter}, targets: targets, variation: random, accept: acceptText,
		})
	}
	return all
}

// timeout returns the scrape timeout that the client sends: Prometheus's default, or the
// time that expfmt needs.
func (r row) timeout() time.Duration {
	if r.expfmt {
		return time.Minute
	}
	return 10 * time.Second
}

func coding(gzip bool) string {
	if gzip {
		return "gzip"
	}
	return "plain"
}

// String returns the variation as it appears in the names of rows.
func (v variation) String() string {
	switch {
	case v.Share > 0:
		return fmt.Sprintf("%g %%", v.Share*100)
	case v.RandomValues:
		return "random values"
	}
	return "same"
}
