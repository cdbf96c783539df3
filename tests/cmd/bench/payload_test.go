package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

const (
	textType        = "text/plain; version=0.0.4"
	openMetricsType = "application/openmetrics-text; version=1.0.0"
)

// oddBody contains unusual lines that bodies of real programs contain.
const oddBody = `# HELP odd_total With "quotes" and a \\.
# TYPE odd_total counter
odd_total{path="C:\\",say="a \"b\" } {",x=""} 1 1700000000123
# TYPE no_suffix counter
no_suffix 3
# TYPE plain untyped
plain -0.5
# a comment
# TYPE twice gauge
twice 1
# TYPE twice_total counter
twice_total 2
# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="+Inf"} 2
h_sum 3.5e-05
h_count 2
h_bucket{resource="pods",a="b",le="1"} 1
h_bucket{resource="pods",a="b",le="+Inf"} 2
h_sum{resource="pods",a="b"} NaN
h_count{resource="pods",a="b"} 2
# TYPE s summary
s{quantile="0.5"} 1
s_sum 1
s_count 1
`

// sampleBodies returns bodies in the text format: oddBody, and the body of a Go program.
func sampleBodies(t *testing.T) map[string][]byte {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "requests_seconds", Help: "Requests."}, []string{"verb", "resource"})
	registry.MustRegister(requests)
	for i := range 20 {
		requests.WithLabelValues("GET", fmt.Sprint("resource-", i)).Observe(float64(i))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var program bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&program, family); err != nil {
			t.Fatal(err)
		}
	}
	return map[string][]byte{"odd": []byte(oddBody), "program": program.Bytes()}
}

// parseSeries parses a body with Prometheus's parser. A duplicate series fails the test.
func parseSeries(t *testing.T, body []byte, contentType string) map[string]float64 {
	t.Helper()
	parser, err := textparse.New(body, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]float64{}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return series
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, body)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := parser.Series()
		var l labels.Labels
		parser.Labels(&l)
		if _, duplicate := series[l.String()]; duplicate {
			t.Fatalf("duplicate series %s", l)
		}
		series[l.String()] = value
	}
}

func TestNoVariation(t *testing.T) {
	for name, base := range sampleBodies(t) {
		got, err := variation{}.vary(base, 7)
		if err != nil || !bytes.Equal(got, base) {
			t.Errorf("%s: error %v, or the body changed", name, err)
		}
		if got, want := countSamples(base), len(parseSeries(t, base, textType)); got != want {
			t.Errorf("%s: %d samples, want %d", name, got, want)
		}
	}
}

func TestRandomValues(t *testing.T) {
	for name, base := range sampleBodies(t) {
		v := variation{RandomValues: true}
		one, err := v.vary(base, 1)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := v.vary(base, 1)
		two, _ := v.vary(base, 2)
		if !bytes.Equal(one, again) || bytes.Equal(one, two) || len(one) != len(base) {
			t.Errorf("%s: bodies of one target differ, bodies of two targets are equal, or lengths differ", name)
		}
		want := parseSeries(t, base, textType)
		for series := range parseSeries(t, one, textType) {
			if _, known := want[series]; !known {
				t.Errorf("%s: new series %s", name, series)
			}
		}
	}
}

func TestRandomValueKeepsShape(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, value := range []string{"0", "12", "-12", "0.5", "1.75e+09", "3e-05", "NaN", "+Inf", "-Inf", "1234567"} {
		for range 100 {
			got := string(randomValue(rng, []byte(value)))
			if len(got) != len(value) || shape(got) != shape(value) || strings.HasPrefix(value, "0.") != strings.HasPrefix(got, "0.") {
				t.Fatalf("%s changed to %s", value, got)
			}
			if before, exponent, ok := strings.Cut(value, "e"); ok && !strings.HasSuffix(got, "e"+exponent) || strings.HasSuffix(before, "N") && got != value {
				t.Fatalf("%s changed to %s", value, got)
			}
		}
	}
}

// shape replaces each digit by 9.
func shape(value string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '9'
		}
		return r
	}, value)
}

func TestShare(t *testing.T) {
	base, err := grow(sampleBodies(t)["program"], 200_000)
	if err != nil {
		t.Fatal(err)
	}
	all := parseSeries(t, base, textType)
	for _, share := range []float64{0.05, 0.4} {
		v := variation{RandomValues: true, Share: share}
		one, err := v.vary(base, 1)
		if err != nil {
			t.Fatal(err)
		}
		two, err := v.vary(base, 2)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := bytes.Count(one, []byte("\n# ")), bytes.Count(base, []byte("\n# ")); a != b {
			t.Errorf("%d comments, want %d", a, b)
		}
		series, others := parseSeries(t, one, textType), parseSeries(t, two, textType)
		own := 0
		for s := range series {
			if _, inBase := all[s]; inBase {
				continue
			}
			own++
			if _, shared := others[s]; shared {
				t.Errorf("two targets have %s", s)
			}
		}
		n := float64(len(all))
		dropped := n - float64(len(series))
		for what, got := range map[string]float64{"own": float64(own) / n, "dropped": dropped / n} {
			if got < share/2*0.7 || got > share/2*1.3 {
				t.Errorf("share %g: a fraction of %g is %s, want about half of the share", share, got, what)
			}
		}
	}
}

func TestMark(t *testing.T) {
	for _, test := range []struct{ labels, preferred, want string }{
		{``, "", `variant="-x"`},
		{`le="1"`, "", `le="1",variant="-x"`},
		{`a="b",c="d"`, "", `a="b-x",c="d"`},
		{`a="b",c="d"`, "c", `a="b",c="d-x"`},
		{`le="1",a="\"",c="d"`, "", `le="1",a="\"-x",c="d"`},
	} {
		if got := mark([]byte(test.labels), test.preferred, "-x"); string(got) != test.want {
			t.Errorf("%s changed to %s, want %s", test.labels, got, test.want)
		}
	}
}

func TestMalformedLines(t *testing.T) {
	for _, line := range []string{"a\n", "a{b=\"c} 1\n", "a{b=\"c\" 1\n", "a{b} 1\n", "a 1 2 3\n", "a \n"} {
		if s, err := splitSample([]byte(line)); err == nil {
			t.Errorf("%q is parsed as %q, want an error", line, s)
		}
	}
}

func TestResize(t *testing.T) {
	base := sampleBodies(t)["program"]
	for _, size := range []int{len(base) * 8 / 10, len(base) * 21 / 20, len(base) * 10} {
		got, err := resize(base, size)
		if err != nil {
			t.Fatal(err)
		}
		parseSeries(t, got, textType)
		if len(got) > size+size/10 || len(got) < size*9/10 {
			t.Errorf("%d bytes, want about %d", len(got), size)
		}
	}
}

func TestOpenMetrics(t *testing.T) {
	for name, base := range sampleBodies(t) {
		for _, v := range []variation{{}, {RandomValues: true, Share: 0.4}} {
			body, err := load{OpenMetrics: true, Variation: v}.body(base, 3)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := countSamples(body), len(parseSeries(t, body, openMetricsType)); got != want {
				t.Errorf("%s: %d samples, want %d", name, got, want)
			}
		}
	}
	got, err := toOpenMetrics([]byte(oddBody))
	if err != nil {
		t.Fatal(err)
	}
	head := `# HELP odd With \"quotes\" and a \\.
# TYPE odd counter
odd_total{path="C:\\",say="a \"b\" } {",x=""} 1 1700000000.123
# TYPE no_suffix unknown
no_suffix 3
# TYPE plain unknown
plain -0.5
# TYPE twice gauge
twice 1
# TYPE h histogram
`
	if !strings.HasPrefix(string(got), head) {
		t.Errorf("got\n%s\nwant\n%s", got, head)
	}
}
