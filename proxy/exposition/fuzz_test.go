package exposition

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/prototext"
)

// FuzzMerge merges two bodies, one of them for two targets, in text and OpenMetrics
// with every escaping. The output must be readable, contain all samples, and stay the
// same when it is merged again. Both engines must agree.
func FuzzMerge(f *testing.F) {
	all := bodies(f)
	for i, b := range all {
		other := all[(i+1)%len(all)]
		f.Add(b.text, other.text, b.contentType == openMetricsType, other.contentType == openMetricsType, uint8(i))
	}
	f.Fuzz(func(t *testing.T, a, b string, aIsOpenMetrics, bIsOpenMetrics bool, choice uint8) {
		format := Format{syntax: syntax(choice % 2), version: "1.0.0", escaping: model.EscapingScheme(choice / 2 % 4)}
		var parts []Part
		samples := 0
		for i, body := range []string{a, b, a} {
			labels := labelsOf([]string{"pod=a", "pod=b,exported_pod=c", "x=1"}[i])
			contentType := textType
			if i == 1 && bIsOpenMetrics || i != 1 && aIsOpenMetrics {
				contentType = openMetricsType
			}
			read, err := Read(strings.NewReader(body), Options{Format: format, ContentType: contentType, Labels: labels})
			if err != nil {
				continue
			}
			samples += 1 + read.Samples()
			parts = append(parts, Part{Labels: labels, HasUp: true, Up: true, Body: read})
		}
		isReadBy := map[bool]string{false: textType, true: openMetricsType}
		r, first, second := NewReader(32<<20), testBody{"a", isReadBy[aIsOpenMetrics], a}, testBody{"b", isReadBy[bIsOpenMetrics], b}
		checkSame(t, r, format, first, second)
		checkSame(t, r, format, second, first, first)
		checkSame(t, r, format, second, second, first) // perhaps read along the previous ones
		answer := write(t, Merge(format, parts))
		again, err := Read(strings.NewReader(answer), Options{Format: format, ContentType: format.ContentType()})
		if err != nil {
			t.Fatalf("the output is not readable: %v\n%s", err, answer)
		}
		if again.Samples() != samples {
			t.Fatalf("%d samples went in, %d came out\n%s", samples, again.Samples(), answer)
		}
		if len(again.conflicts) != 0 || len(again.rewritten) != 0 && format.escaping != model.NoEscaping {
			t.Fatalf("the output has conflicts %v, and these lines that are not canonical: %q\n%s", again.conflicts, again.rewritten, answer)
		}
		if second := write(t, Merge(format, []Part{{Body: again}})); !slices.Equal(sortedLines(second), sortedLines(answer)) {
			t.Fatalf("the output merged again differs:\n%s\nwant\n%s", second, answer)
		}
	})
}

// FuzzProtobuf reads a protobuf body for output in every format. The output must be
// readable and contain all samples that Read counted.
func FuzzProtobuf(f *testing.F) {
	for _, families := range [][]string{
		{
			`name: "a_total" help: "Things." type: COUNTER metric { label { name: "x" value: "1" } counter { value: 1 exemplar { label { name: "t" value: "1" } value: 0.5 } } }`,
			`name: "u" type: UNTYPED metric { untyped { value: -inf } timestamp_ms: 1700000000123 }`,
			`name: "dotted.name" type: GAUGE metric { label { name: "dotted.label" value: "\\ \" \n" } label { name: "pod" value: "x" } gauge { value: nan } }`,
		},
		{
			`name: "s" type: SUMMARY metric { summary { sample_count: 3 sample_sum: 4 quantile { quantile: 0.5 value: 1 } } }`,
			`name: "h" type: HISTOGRAM metric { histogram { sample_count: 3 sample_sum: 4 bucket { upper_bound: 1 cumulative_count: 2 exemplar { value: 0.5 } } } }`,
		},
		{
			`name: "native" type: HISTOGRAM metric { histogram { sample_count: 6 sample_sum: 4 schema: 3 zero_threshold: 1e-128 zero_count: 1 positive_span { length: 2 } positive_delta: 2 positive_delta: 1 } }`,
			`name: "up" type: GAUGE metric { gauge { value: 0 } } metric { label { name: "x" value: "1" } gauge { value: 0 } }`,
			`name: "dup" type: GAUGE metric { gauge { value: 1 } } metric { gauge { value: 2 } }`,
		},
	} {
		var body bytes.Buffer
		for _, family := range families {
			var mf dto.MetricFamily
			if err := prototext.Unmarshal([]byte(family), &mf); err != nil {
				f.Fatal(err)
			}
			if _, err := protodelim.MarshalTo(&body, &mf); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(body.Bytes(), uint8(0))
		f.Add(body.Bytes(), uint8(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, choice uint8) {
		labels := labelsOf("pod=a")
		for _, syntax := range []syntax{text, openMetrics, protobuf} {
			format := Format{syntax: syntax, version: "1.0.0", escaping: model.EscapingScheme(choice % 4)}
			read, err := Read(bytes.NewReader(body), Options{Format: format, ContentType: protobufType, Labels: labels})
			if err != nil {
				continue
			}
			answer := write(t, Merge(format, []Part{{Labels: labels, HasUp: true, Body: read}}))
			again, err := Read(strings.NewReader(answer), Options{Format: format, ContentType: format.ContentType()})
			if err != nil {
				t.Fatalf("the output is not readable: %v\n%q", err, answer)
			}
			if again.Samples() != 1+read.Samples() || len(again.conflicts) != 0 {
				t.Fatalf("%d samples went in, %d came out, with conflicts %v\n%q", 1+read.Samples(), again.Samples(), again.conflicts, answer)
			}
		}
	})
}

// sortedLines makes the position of the family up irrelevant: without an up of its own,
// the proxy treats it like any other family.
func sortedLines(s string) []string {
	return slices.Sorted(strings.SplitSeq(s, "\n"))
}
