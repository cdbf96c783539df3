package differential

import (
	"bytes"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
)

// TestProtobuf checks that the proxy and Prometheus accept the same bodies.
func TestProtobuf(t *testing.T) {
	for _, b := range protobufBodies(t) {
		_, theirs := parse(b.Text, Protobuf)
		for _, accept := range []string{"", OpenMetrics, Protobuf} {
			_, err := exposition.Read(bytes.NewReader(b.Text), exposition.Options{Format: exposition.Negotiate(accept), ContentType: Protobuf})
			if (err == nil) != (theirs == nil) {
				t.Errorf("for Accept %q: the proxy returns error %v, Prometheus returns %v\n%q", accept, err, theirs, b.Text)
			}
		}
	}
}

// protobufBodies returns protobuf bodies. They are written here in the protobuf text format.
func protobufBodies(tb testing.TB) []Body {
	tb.Helper()
	var all []Body
	for _, families := range [][]string{
		{
			`name: "a_total" help: "Things." type: COUNTER metric { label { name: "x" value: "1" } counter { value: 1 exemplar { label { name: "t" value: "1" } value: 0.5 timestamp { seconds: 1700000000 } } created_timestamp { seconds: 1600000000 } } }`,
			`name: "g" type: GAUGE unit: "s" metric { gauge { value: 2 } } metric { label { name: "x" value: "2" } gauge { value: nan } timestamp_ms: 1700000000123 }`,
			`name: "u" type: UNTYPED metric { untyped { value: -inf } }`,
			`name: "s" type: SUMMARY metric { summary { sample_count: 3 sample_sum: 4 quantile { quantile: 0.5 value: 1 } quantile { quantile: 1 value: 2 } } }`,
			`name: "h" type: HISTOGRAM metric { histogram { sample_count: 3 sample_sum: 4 bucket { upper_bound: 1 cumulative_count: 2 exemplar { value: 0.5 } } bucket { upper_bound: inf cumulative_count: 3 } } }`,
			`name: "empty" type: GAUGE`,
		},
		{
			`name: "native" help: "Native." type: HISTOGRAM metric { label { name: "pod" value: "mine" } histogram { sample_count: 6 sample_sum: 4 schema: 3 zero_threshold: 1e-128 zero_count: 1 positive_span { offset: 0 length: 2 } positive_delta: 2 positive_delta: 1 } }`,
			`name: "both" type: HISTOGRAM metric { histogram { sample_count: 6 sample_sum: 4 bucket { upper_bound: 1 cumulative_count: 2 } schema: 3 zero_threshold: 1e-128 zero_count: 1 negative_span { offset: 0 length: 1 } negative_delta: 5 } }`,
			`name: "float" type: GAUGE_HISTOGRAM metric { histogram { sample_count_float: 6.5 sample_sum: 4 schema: 3 zero_threshold: 1e-128 zero_count_float: 1 positive_span { offset: 0 length: 1 } positive_count: 5.5 } }`,
		},
		{
			`name: "h" type: GAUGE metric { gauge { value: 1 } }`,
			`name: "h" type: HISTOGRAM metric { histogram { sample_count: 1 } }`,
			`name: "up" type: GAUGE metric { gauge { value: 0 } } metric { label { name: "x" value: "1" } gauge { value: 0 } }`,
			`name: "up" type: GAUGE_HISTOGRAM metric { histogram { } }`,
			`name: "up" type: SUMMARY metric { summary { sample_count: 1 } }`,
			`name: "dup" type: GAUGE metric { gauge { value: 1 } } metric { gauge { value: 2 } } metric { label { name: "x" value: "" } gauge { value: 3 } } metric { gauge { value: 4 } timestamp_ms: 5 }`,
			`name: "dup" type: COUNTER metric { counter { value: 1 } }`,
			`name: "dotted.name" type: GAUGE metric { label { name: "dotted.label" value: "\\ \" \n" } label { name: "pod" value: "x" } label { name: "exported_pod" value: "y" } gauge { value: 1 } }`,
		},
		{`name: "bad" type: GAUGE metric { label { name: "x" value: "1" } label { name: "x" value: "1" } gauge { value: 1 } }`},
		{`name: "bad" type: GAUGE metric { label { name: "__name__" value: "1" } gauge { value: 1 } }`},
		{`name: "" type: GAUGE metric { gauge { value: 1 } }`},
		{`name: "bad" type: HISTOGRAM metric { label { name: "le" value: "1" } histogram { sample_count: 1 } }`},
		{`name: "bad" type: HISTOGRAM metric { histogram { sample_count: 6 schema: 3 zero_count: 1 positive_span { offset: 0 length: 2 } positive_delta: 2 } }`},
	} {
		var out bytes.Buffer
		for _, text := range families {
			mf := &dto.MetricFamily{}
			if err := prototext.Unmarshal([]byte(text), mf); err != nil {
				tb.Fatalf("%s: %v", text, err)
			}
			if _, err := protodelim.MarshalTo(&out, mf); err != nil {
				tb.Fatal(err)
			}
		}
		all = append(all, Body{out.Bytes(), Protobuf}, Body{out.Bytes()[:out.Len()-1], Protobuf})
	}
	return all
}
