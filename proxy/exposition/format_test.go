package exposition

import (
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

// prometheusAccept is the default Accept header of Prometheus 3.15.
const prometheusAccept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,application/openmetrics-text;version=0.0.1;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3"

func TestNegotiate(t *testing.T) {
	const (
		plain = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
		om    = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
	)
	for accept, want := range map[string]string{
		"":                 plain,
		"*/*":              plain,
		"text/*":           plain,
		"text/html":        plain,
		"garbage;;;":       plain,
		"application/json": plain,
		prometheusAccept:   om,
		"text/plain;version=0.0.4;q=0.4,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5": om,
		"text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4":                      plain,
		"text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.5":                      plain, // of equal q, the first
		"application/openmetrics-text;version=1.0.0;q=0,text/plain;q=0.1":                                      plain, // 0 is not acceptable
		"Application/OpenMetrics-Text;Version=1.0.0;Q=0,text/plain;Q=0.1":                                      plain,
		"application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4;q=0.1":                            plain, // a draft
		"application/openmetrics-text":                                                            "application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores",
		"text/plain;version=1.0.0;escaping=dots":                                                  "text/plain; version=1.0.0; charset=utf-8; escaping=dots",
		"text/plain;version=1.0.0;escaping=values":                                                "text/plain; version=1.0.0; charset=utf-8; escaping=values",
		"text/plain;version=1.0.0;escaping=unheard-of":                                            "text/plain; version=1.0.0; charset=utf-8; escaping=underscores",
		"text/plain; version=0.0.4; escaping=allow-utf-8; q=0.31":                                 "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
		"text/plain;q=high,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.1": om,
	} {
		if got := Negotiate(accept).ContentType(); got != want {
			t.Errorf("Accept %s: got %s, want %s", accept, got, want)
		}
	}
}

func TestTargetsAreAskedForWhatTheAnswerCanCarry(t *testing.T) {
	want := "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.9,application/openmetrics-text;version=0.0.1;escaping=allow-utf-8;q=0.8,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.7,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.6,*/*;q=0.5"
	if got := Negotiate(prometheusAccept).Accept(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := Negotiate("").Accept(); strings.Contains(got, "openmetrics") || !strings.Contains(got, "escaping=underscores") {
		t.Errorf("the Accept header for text output is %s", got)
	}
}

func TestEscaping(t *testing.T) {
	const body = "# HELP \"a.b\" Dotted.\n# TYPE \"a.b\" histogram\n" +
		"{\"a.b_bucket\",le=\"+Inf\",\"x.y\"=\"1\",x_y=\"2\",\"c:d\"=\"3\"} 1\na_b{x=\"1\"} 2\n{\"a.b\",x=\"1\"} 3\n"
	labels := labelsOf("pod=a")
	for scheme, want := range map[model.EscapingScheme]string{
		model.NoEscaping: "# HELP \"a.b\" Dotted.\n# TYPE \"a.b\" histogram\n" +
			"{\"a.b_bucket\",pod=\"a\",le=\"+Inf\",\"x.y\"=\"1\",x_y=\"2\",\"c:d\"=\"3\"} 1\n{\"a.b\",pod=\"a\",x=\"1\"} 3\n# TYPE a_b untyped\na_b{pod=\"a\",x=\"1\"} 2\n",
		// a.b and a_b become one family with two equal series, of which the first one
		// stays.
		model.UnderscoreEscaping: "# HELP a_b Dotted.\n# TYPE a_b histogram\na_b_bucket{pod=\"a\",le=\"+Inf\",x_y=\"1\",exported_x_y=\"2\",c_d=\"3\"} 1\na_b{pod=\"a\",x=\"1\"} 2\n",
		model.DotsEscaping: "# TYPE a_b untyped\na_b{pod=\"a\",x=\"1\"} 2\n# HELP a_dot_b Dotted.\n# TYPE a_dot_b histogram\n" +
			"a_dot_b_bucket{pod=\"a\",le=\"+Inf\",x_dot_y=\"1\",x_y=\"2\",c_d=\"3\"} 1\na_dot_b{pod=\"a\",x=\"1\"} 3\n",
		model.ValueEncodingEscaping: "# HELP U__a_2e_b Dotted.\n# TYPE U__a_2e_b histogram\n" +
			"U__a_2e_b_bucket{pod=\"a\",le=\"+Inf\",U__x_2e_y=\"1\",x_y=\"2\",c_d=\"3\"} 1\nU__a_2e_b{pod=\"a\",x=\"1\"} 3\n# TYPE a_b untyped\na_b{pod=\"a\",x=\"1\"} 2\n",
	} {
		format := Format{version: "1.0.0", escaping: scheme}
		read, err := Read(strings.NewReader(body), Options{Format: format, ContentType: textType, Labels: labels})
		if err != nil {
			t.Fatal(err)
		}
		if got := write(t, Merge(format, []Part{{Labels: labels, Body: read}})); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", scheme, got, want)
		}
	}
}

// Prometheus multiplies seconds by 1000 and truncates the result.
func TestSecondsRoundTrip(t *testing.T) {
	for millis := int64(1_700_000_000_000); millis < 1_700_000_100_000; millis += 7 {
		text, ok := appendSeconds(nil, millis)
		s := scanner{text: append([]byte(" "), text...)}
		if _, got, err := s.omTimestamp(); err != nil || got != millis || !ok {
			t.Fatalf("%d became %s, which is %d (%v)", millis, text, got, err)
		}
	}
	if text, ok := appendSeconds(nil, 99999999999999999); ok {
		t.Errorf("a float cannot hold %s", text)
	}
}
