package hostile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

const (
	protobufFormat = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	utf8Format     = "text/plain; version=1.0.0; escaping=allow-utf-8"
	bodyLimit      = 32 << 20 // default of BODY_SIZE_LIMIT
)

// serve responds with a body, compressed with gzip.
func serve(contentType string, body []byte) http.Handler {
	var compressed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&compressed, gzip.BestSpeed)
	_, _ = w.Write(body)
	_ = w.Close()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(compressed.Bytes())
	})
}

func text(body string) http.Handler { return serve(exporter.TextFormat, []byte(body)) }

// same returns the handler n times.
func same(n int, handler http.Handler) []http.Handler {
	all := make([]http.Handler, n)
	for i := range all {
		all[i] = handler
	}
	return all
}

// lines returns numbered lines, up to a size in bytes or a number of lines; 0 = no limit.
func lines(size, most int, line func(i int) string) string {
	var b strings.Builder
	for i := 0; (most == 0 || i < most) && (size == 0 || b.Len() < size-100); i++ {
		b.WriteString(line(i))
	}
	return b.String()
}

// emptyCounter is a Metric with a Counter of no value.
var emptyCounter = []byte{3<<3 | 2, 0}

// family returns a protobuf family with the same Metric n times.
func family(name string, n int, metric []byte) http.Handler {
	var message []byte
	message = protowire.AppendTag(message, 1, protowire.BytesType)
	message = protowire.AppendString(message, name)
	for range n {
		message = protowire.AppendTag(message, 4, protowire.BytesType)
		message = protowire.AppendBytes(message, metric)
	}
	return serve(protobufFormat, protowire.AppendBytes(nil, message))
}

// largeHistogram returns a family with a histogram of many buckets, and the same Metric without
// buckets many times.
func largeHistogram() http.Handler {
	var histogram []byte
	for range 9_000 {
		histogram = protowire.AppendTag(histogram, 3, protowire.BytesType)
		histogram = protowire.AppendBytes(histogram, []byte{2<<3 | 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 1 << 3, 1})
	}
	message := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "h")
	message = protowire.AppendVarint(protowire.AppendTag(message, 3, protowire.VarintType), 4)
	add := func(histogram []byte) {
		metric := protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), histogram)
		message = protowire.AppendBytes(protowire.AppendTag(message, 4, protowire.BytesType), metric)
	}
	add(histogram)
	for range 100_000 {
		add(nil)
	}
	return serve(protobufFormat, protowire.AppendBytes(nil, message))
}

// emptyBuckets returns a Metric with a Histogram of n empty buckets.
func emptyBuckets(n int) []byte {
	return protowire.AppendBytes([]byte{7<<3 | 2}, bytes.Repeat([]byte{3<<3 | 2, 0}, n))
}

// equalLabels returns a line with n labels whose names are equal when they are escaped.
func equalLabels(n int) http.Handler {
	var b strings.Builder
	b.WriteString("m{")
	for i := range n {
		fmt.Fprintf(&b, "%q=\"1\",", string(rune(0x4e00+i)))
	}
	b.WriteString("} 1\n")
	return serve(utf8Format, []byte(b.String()))
}

// newNames responds with a family of another long name each time, with a label conflict.
func newNames() http.Handler {
	var count atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		name := fmt.Sprint("m", count.Add(1), strings.Repeat("n", 300_000))
		w.Header().Set("Content-Type", exporter.TextFormat)
		_, _ = fmt.Fprintf(w, "# TYPE %s gauge\n%s{k8s_pod_name=\"x\"} 1\n", name, name)
	})
}
