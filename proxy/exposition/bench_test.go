package exposition

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// benchBody is about 60 KB in 700 samples: a node exporter's.
func benchBody() string {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "# HELP node_metric_%d_total Some help text for this family of metrics.\n# TYPE node_metric_%d_total counter\n", i, i)
		for j := range 7 {
			fmt.Fprintf(&b, "node_metric_%d_total{device=\"eth%d\",mode=\"receive\",fstype=\"ext4\"} %d.%d\n", i, j, i*7919+j, i)
		}
	}
	return b.String()
}

func BenchmarkRead(b *testing.B) {
	body := benchBody()
	labels := labelsOf("k8s_pod_name=web-0,k8s_namespace=default")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(strings.NewReader(body), Options{ContentType: textType, Labels: labels}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMerge merges and writes 100 bodies.
func BenchmarkMerge(b *testing.B) {
	body := benchBody()
	var parts []Part
	for i := range 100 {
		labels := labelsOf(fmt.Sprintf("k8s_pod_name=web-%d,k8s_namespace=default", i))
		parts = append(parts, Part{Labels: labels, HasUp: true, Up: true, Body: mustRead(b, body, labels)})
	}
	b.SetBytes(int64(100 * len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Merge(Format{}, parts).WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
