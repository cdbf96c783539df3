package exposition

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// kinds are kinds of bodies that take memory in different ways.
func kinds(t testing.TB) []testBody {
	repeat := func(n int, line func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(line(i))
		}
		return b.String()
	}
	filler := strings.Repeat("x", 900)
	return []testBody{
		{"short lines", textType, repeat(50_000, func(i int) string { return fmt.Sprintf("m{i=\"%d\"} 1\n", i) })},
		{"long lines", textType, repeat(3_000, func(i int) string { return fmt.Sprintf("m{i=\"%d\",x=%q} 1\n", i, filler) })},
		{"families", textType, repeat(25_000, func(i int) string { return fmt.Sprintf("m%d 1\n", i) })},
		{"families with metadata", textType, repeat(10_000, func(i int) string { return fmt.Sprintf("# HELP m%d Help.\n# TYPE m%d gauge\nm%d 1\n", i, i, i) })},
		{"label conflicts", textType, repeat(12_000, func(i int) string { return fmt.Sprintf("m%d{pod=\"b\"} 1\n", i) })},
		{"rewritten", textType, repeat(40_000, func(i int) string { return fmt.Sprintf("m { i = \"%d\" , } 1\n", i) })},
		{"names to escape", textType, repeat(15_000, func(i int) string { return fmt.Sprintf("{\"a.b\",\"c.d\"=\"%d\"} 1\n", i) })},
		{"duplicates", textType, repeat(100_000, func(i int) string { return fmt.Sprintf("m %d\n", i) })},
		{"comments", textType, repeat(250_000, func(int) string { return "# x\n" })},
		{"histograms", openMetricsType, "# TYPE h histogram\n" + repeat(6_000, func(i int) string {
			return fmt.Sprintf("h_bucket{i=\"%d\",le=\"1.0\"} 1\nh_bucket{i=\"%d\",le=\"+Inf\"} 1\nh_count{i=\"%d\"} 1\n", i, i, i)
		}) + "# EOF\n"},
		{"protobuf", protobufType, protoBody(t, 15_000, func(i int) *dto.Metric {
			return &dto.Metric{Label: []*dto.LabelPair{{Name: proto.String("i"), Value: proto.String(fmt.Sprint(i))}}, Counter: &dto.Counter{Value: proto.Float64(1)}}
		})},
		{"protobuf histograms", protobufType, protoBody(t, 2_000, func(i int) *dto.Metric {
			h := &dto.Histogram{SampleCount: proto.Uint64(1), SampleSum: proto.Float64(1)}
			for b := range 20 {
				h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(float64(b)), CumulativeCount: proto.Uint64(1)})
			}
			return &dto.Metric{Label: []*dto.LabelPair{{Name: proto.String("i"), Value: proto.String(fmt.Sprint(i))}}, Histogram: h}
		})},
	}
}

func protoBody(t testing.TB, n int, metric func(int) *dto.Metric) string {
	mf := &dto.MetricFamily{Name: proto.String("m_total"), Type: dto.MetricType_COUNTER.Enum()}
	for i := range n {
		m := metric(i)
		if m.Histogram != nil {
			mf.Name, mf.Type = proto.String("m"), dto.MetricType_HISTOGRAM.Enum()
		}
		mf.Metric = append(mf.Metric, m)
	}
	var body bytes.Buffer
	if _, err := protodelim.MarshalTo(&body, mf); err != nil {
		t.Fatal(err)
	}
	return body.String()
}

var outputs = map[string]Format{
	"text":        {syntax: text},
	"openmetrics": {syntax: openMetrics, version: "1.0.0"},
	"protobuf":    {syntax: protobuf},
}

// TestAccounting checks that what is reserved for a body is what the heap grows by, within 20 %,
// and that what indexing takes meanwhile is no more than what Work is told.
func TestAccounting(t *testing.T) {
	for _, b := range kinds(t) {
		for name, format := range outputs {
			t.Run(b.name+" to "+name, func(t *testing.T) {
				var reserved, scratch int64
				before := heap()
				body, err := Read(strings.NewReader(b.text), Options{
					Format: format, ContentType: b.contentType, Labels: labelsOf("pod=a"),
					Reserve: func(bytes int64) error { reserved += bytes; return nil },
					Work:    func(_, s int64) (func(), error) { scratch = s; return func() {}, nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				grown := heap() - before
				if diff := grown - reserved; diff > reserved/5 || -diff > grown/5 {
					t.Errorf("the heap grew by %d bytes, but %d were reserved for a body of %d", grown, reserved, len(b.text))
				}
				t.Logf("%d kept, %d reserved, %d scratch", grown, reserved, scratch)
				runtime.KeepAlive(body)
			})
		}
	}
}

// heap returns the bytes that are reachable.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// manyMetrics returns a family of counters that have the same Metric many times.
func manyMetrics(name string, metrics int, metric ...byte) string {
	var family []byte
	family = protowire.AppendTag(family, 1, protowire.BytesType)
	family = protowire.AppendString(family, name)
	for range metrics {
		family = protowire.AppendTag(family, familyMetric, protowire.BytesType)
		family = protowire.AppendBytes(family, metric)
	}
	return string(protowire.AppendBytes(nil, family))
}
