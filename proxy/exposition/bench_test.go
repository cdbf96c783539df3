package exposition

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// benchBody returns about 60 KB with 700 samples, like the exposition of a node
// exporter.
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

func BenchmarkReader(b *testing.B) {
	body := benchBody()
	labels := labelsOf("k8s_pod_name=web-0,k8s_namespace=default")
	r := NewReader(32 << 20)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read(strings.NewReader(body), Options{ContentType: textType, Labels: labels}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMergePacked merges and writes 100 packed bodies.
func BenchmarkMergePacked(b *testing.B) {
	body := benchBody()
	var parts []Part
	r := NewReader(32 << 20)
	for i := range 100 {
		labels := labelsOf(fmt.Sprintf("k8s_pod_name=web-%d,k8s_namespace=default", i))
		read, err := r.Read(strings.NewReader(body), Options{ContentType: textType, Labels: labels})
		if err != nil {
			b.Fatal(err)
		}
		parts = append(parts, Part{Labels: labels, HasUp: true, Up: true, Body: read})
	}
	b.SetBytes(int64(100 * len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Merge(Format{}, parts).WriteTo(io.Discard); err != nil {
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

// Reading, merging and writing create no object per sample: more samples of the same
// families take hardly more allocations.
func TestAllocations(t *testing.T) {
	body := func(samples int) string {
		var b strings.Builder
		b.WriteString("# HELP m_total Things.\n# TYPE m_total counter\n")
		for i := range samples {
			fmt.Fprintf(&b, "m_total{i=\"%d\"} %d\n", i, i)
		}
		return b.String()
	}
	for name, format := range answers {
		allocations := func(samples int) float64 {
			text, labels := body(samples), labelsOf("pod=a")
			return testing.AllocsPerRun(5, func() {
				b, err := Read(strings.NewReader(text), Options{Format: format, ContentType: textType, Labels: labels})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Merge(format, []Part{{Labels: labels, HasUp: true, Body: b}}).WriteTo(io.Discard); err != nil {
					t.Fatal(err)
				}
			})
		}
		if few, many := allocations(100), allocations(10_000); many > few+500 {
			t.Errorf("%s: %v allocations for 100 samples, %v for 10,000", name, few, many)
		}
	}
}
