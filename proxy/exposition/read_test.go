package exposition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/common/model"
)

// testBody is a body in testdata/bodies: NAME.txt in text, NAME.om in OpenMetrics. A
// body whose name begins with bad breaks a rule of its format.
type testBody struct{ name, contentType, text string }

func bodies(tb testing.TB) []testBody {
	tb.Helper()
	files, err := filepath.Glob("testdata/bodies/*")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no bodies: %v", err)
	}
	var all []testBody
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		b := testBody{filepath.Base(file), textType, string(content)}
		if filepath.Ext(file) == ".om" {
			b.contentType = openMetricsType
		}
		all = append(all, b)
	}
	return all
}

func TestReadAcceptsAndRefuses(t *testing.T) {
	for _, b := range bodies(t) {
		for name, format := range answers {
			_, err := Read(strings.NewReader(b.text), Options{Format: format, ContentType: b.contentType, Labels: labelsOf("pod=a")})
			var syntax *SyntaxError
			if isBad := strings.HasPrefix(b.name, "bad"); isBad != errors.As(err, &syntax) {
				t.Errorf("%s for %s: %v\n%s", b.name, name, err, b.text)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("%s: an error of %d bytes", b.name, len(err.Error()))
			}
		}
	}
}

// A target must not be able to fill the log.
func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("\x01", 1<<20)
	name := strings.Repeat("n", 1<<20)
	for _, body := range []string{
		"a " + long, "# TYPE a " + long, "# HELP a \xff" + long, "a{" + name + "}", "a{" + name + "=\"1\"," + name + "=\"1\"} 1",
		"a{x=\"\xff" + long + "\"} 1", "{\"\xff" + name + "\"} 1", "a 1 " + strings.Repeat("9", 1<<20), "# TYPE " + name + " x",
	} {
		for _, contentType := range []string{textType, openMetricsType} {
			_, err := Read(strings.NewReader(body), Options{ContentType: contentType})
			if err == nil || len(err.Error()) > 1000 {
				t.Errorf("%.20q: error of %d bytes", body, len(fmt.Sprint(err)))
			}
		}
	}
}

func TestReadContentType(t *testing.T) {
	for _, test := range []struct {
		contentType, fallback, body string
		ok                          bool
	}{
		{"text/plain", "", "a 1\n", true},
		{"TEXT/PLAIN; version=0.0.4", "", "a 1\n", true},
		{"text/plain; version=9", "", "a 1\n", true},
		{"application/openmetrics-text", "", "a 1\n# EOF\n", true},
		{"application/openmetrics-text; version=2.0.0", "", "a 1\n# EOF\n", false},
		{"application/openmetrics-text; version=2.0.0", textType, "a 1\n", true},
		{"", "", "a 1\n", false},
		{"", "", "", true}, // an empty body is an empty scrape
		{"", textType, "a 1\n", true},
		{"text/html", "", "a 1\n", false},
		{"text/html", openMetricsType, "a 1\n# EOF\n", true},
		{"text/plain; ;", "", "a 1\n", false},
		{"text/plain", openMetricsType, "a 1\n", true},
	} {
		_, err := Read(strings.NewReader(test.body), Options{ContentType: test.contentType, Fallback: test.fallback})
		var typeErr ContentTypeError
		if test.ok != (err == nil) || !test.ok && !errors.As(err, &typeErr) {
			t.Errorf("%q with fallback %q: %v", test.contentType, test.fallback, err)
		}
	}
}

func TestReadStops(t *testing.T) {
	done := make(chan struct{})
	close(done)
	if _, err := Read(strings.NewReader(strings.Repeat("a 1\n", 5000)), Options{ContentType: textType, Done: done}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTooManyFamilies(t *testing.T) {
	var body strings.Builder
	for i := range maxFamilies + 1 {
		fmt.Fprintf(&body, "a%d 1\n", i)
	}
	if _, err := Read(strings.NewReader(body.String()), Options{ContentType: textType}); !errors.Is(err, ErrTooManySamples) {
		t.Errorf("got %v", err)
	}
}

func TestReadSaysWhere(t *testing.T) {
	for body, want := range map[string]string{
		"a 1\nb{x=\"1\n2\"} 1\nc x\n":      `line 4: value "x" is not a number`,
		"<html>":                           `line 1: expected a metric name, found '<'`,
		"a{x=\"1\",x=\"2\"} 1":             `line 1: duplicate label x`,
		"a{__name__=\"b\"} 1":              `line 1: label __name__ is not allowed`,
		"\n\n# TYPE a thing\n":             `line 3: TYPE of a is "thing", expected one of ["untyped" "counter" "gauge" "histogram" "summary"]`,
		"a 1 1.5\n":                        `line 1: expected a timestamp in milliseconds or the end of the line, found '.'`,
		"a{x=\"1\n":                        `line 1: value of label x: unterminated quoted string`,
		"# HELP 1 x\n":                     `line 1: expected a metric name after HELP, found '1'`,
		"a 1\n\x00b 1\n":                   `line 2: expected a metric name, found '\x00'`,
		"a{x=1} 1\n":                       `line 1: expected a quoted value for label x, found '1'`,
		"{\"a\",\"b\"} 1\n":                `line 1: more than one metric name`,
		"{x=\"1\"} 1\n":                    `line 1: missing metric name`,
		"# HELP a \xff\n":                  `line 1: HELP of a is not valid UTF-8: "\xff"`,
		"a{x=\"\xff\"} 1\n":                `line 1: value of label x is not valid UTF-8: "\xff"`,
		"a 1 99999999999999999999\n":       `line 1: timestamp 99999999999999999999 is out of range`,
		"a{x=\"1\"} 1\r\n":                 `line 1: value "1\r" is not a number`,
		"{\"\"} 1\n":                       `line 1: name "" is empty or not valid UTF-8`,
		"{\"a\x00\"} 1\n":                  `line 1: NUL byte in name "a\x00"`,
		"a{x} 1\n":                         `line 1: expected = after label x, found '}'`,
		"a{=\"1\"} 1\n":                    `line 1: expected a label name, found '='`,
		strings.Repeat("a 1\n", 9) + "1\n": `line 10: expected a metric name, found '1'`,
	} {
		if _, err := Read(strings.NewReader(body), Options{ContentType: textType}); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", body, err, want)
		}
	}
}

func TestReadLimits(t *testing.T) {
	if _, err := Read(strings.NewReader("a 1\nb 1\n"), Options{ContentType: textType, MaxSamples: 2}); err != nil {
		t.Errorf("two samples, limit 2: %v", err)
	}
	// Duplicates count, because they are exposed.
	if _, err := Read(strings.NewReader("a 1\na 1\na 1\n"), Options{ContentType: textType, MaxSamples: 2}); !errors.Is(err, ErrTooManySamples) || !strings.Contains(err.Error(), "more than SAMPLE_LIMIT=2") {
		t.Errorf("three samples, limit 2: %v", err)
	}
	if _, err := Read(iotest.ErrReader(io.ErrUnexpectedEOF), Options{ContentType: textType}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error of the reader: %v", err)
	}
	b, err := Read(strings.NewReader(""), Options{ContentType: textType})
	if err != nil || b.Samples() != 0 {
		t.Errorf("empty body: %v, %v", b, err)
	}
}

func TestBodyCounts(t *testing.T) {
	b := mustRead(t, "a 1\na 2\nup 1\nb{pod=\"x\"} 1\n", labelsOf("pod=a"))
	want := map[conflict]int{{DuplicateConflict, "a"}: 1, {UpConflict, "up"}: 1, {LabelConflict, "b"}: 1}
	if !maps.Equal(b.conflicts, want) || b.Samples() != 2 {
		t.Errorf("%+v and %d samples, want %+v and 2", b.conflicts, b.Samples(), want)
	}
}

// A line with very many labels must not take quadratic time.
func TestManyLabels(t *testing.T) {
	var line strings.Builder
	line.WriteString("a{")
	for range 300_000 {
		line.WriteString(`x="",`)
	}
	line.WriteString(`y="1",y="2"} 1`)
	if _, err := Read(strings.NewReader(line.String()), Options{ContentType: textType}); err == nil {
		t.Error("a repeated label was accepted")
	}
}

func TestCanonicalFloat(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	short := 0
	for range 200_000 {
		s := make([]byte, 1+rng.IntN(9))
		for i := range s {
			s[i] = "0012345.9+e"[rng.IntN(11)]
		}
		if !isCanonicalFloat(string(s)) {
			continue
		}
		short++
		f, err := strconv.ParseFloat(string(s), 64)
		want := strconv.FormatFloat(f, 'g', -1, 64)
		if !strings.ContainsAny(want, "e.") {
			want += ".0"
		}
		if err != nil || want != string(s) {
			t.Fatalf("%s counts as canonical, but is %s, %v", s, want, err)
		}
	}
	if short < 1000 {
		t.Errorf("only %d numbers were tried", short)
	}
	for number, want := range map[string]string{"": "", "0.": "0.0", ".5": "0.5", "1": "1.0", "-0": "0.0", "0.05": "0.05", "1e3": "1000.0", "5e6": "5e+06", "+Inf": "+Inf", "x": "x"} {
		if got := canonicalFloat(number); got != want {
			t.Errorf("%q becomes %q, want %q", number, got, want)
		}
	}
}

// emptyCounter is a Metric with a Counter of no value.
var emptyCounter = []byte{3<<3 | 2, 0}

// TestLimits checks which bodies are too large, with both engines.
func TestLimits(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	lineOf := func(n int) string { return "m{a=\"" + long[:n-len("m{a=\"\"} 1\n")] + "\"} 1\n" }
	name := strings.Repeat("n", 50_000)
	var equal strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&equal, "%q=\"1\",", string(rune(0x4e00+i)))
	}
	for _, test := range []struct {
		name, contentType, body string
		out                     string
		want                    error
	}{
		{"a line of 1 MiB", textType, "a 1\n" + lineOf(maxLine), "text", nil},
		{"a longer line", textType, "a 1\n" + lineOf(maxLine+1), "text", ErrTooLarge},
		{"a longer line without its end", textType, "a 1\nm{a=\"" + long, "text", ErrTooLarge},
		{"a comment of 1 MiB", textType, "#" + long[2:] + "\na 1\n", "text", nil},
		{"a longer comment", textType, "#" + long + "\na 1\n", "text", ErrTooLarge},
		{"a value with line feeds", textType, "m{a=\"" + strings.Repeat(long[:1000]+"\n", 1200) + "\"} 1\n", "text", ErrTooLarge},
		{"8 MiB of comments", textType, strings.Repeat("#234567\n", maxComments/8) + "a 1\n", "text", nil},
		{"more comments", textType, strings.Repeat("#234567\n", maxComments/8) + "#\na 1\n", "text", ErrTooLarge},
		{"8 MiB of empty lines", textType, "a 1\n" + strings.Repeat("\n", maxComments) + "b 1\n", "text", nil},
		{"more empty lines", textType, "a 1\n" + strings.Repeat("\n", maxComments+1) + "b 1\n", "text", ErrTooLarge},
		{"a long name of many Metrics, as text", protobufType, manyMetrics(name, 12_000, emptyCounter...), "text", ErrTooLarge},
		{"a long name of many Metrics, as OpenMetrics", protobufType, manyMetrics(name, 12_000, emptyCounter...), "openmetrics", ErrTooLarge},
		{"a long name of many Metrics", protobufType, manyMetrics(name, 12_000, emptyCounter...), "protobuf", nil},
		{"10,000 labels", textType, labelled(maxLabels), "text", nil},
		{"more labels", textType, labelled(maxLabels + 1), "text", ErrTooLarge},
		{"more labels, in OpenMetrics", openMetricsType, labelled(maxLabels+1) + "# EOF\n", "text", ErrTooLarge},
		{"more labels, in protobuf", protobufType, manyMetrics("m", 1, bytes.Repeat([]byte{1<<3 | 2, 5, 1<<3 | 2, 1, 'a', 2<<3 | 2, 0}, maxLabels+1)...), "protobuf", ErrTooLarge},
		{"labels that become long", textType, "m{" + equal.String() + "} 1\n", "text", ErrTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			format := outputs[test.out]
			format.escaping = model.UnderscoreEscaping
			opts := Options{Format: format, ContentType: test.contentType}
			if _, err := Read(strings.NewReader(test.body), opts); !errors.Is(err, test.want) {
				t.Errorf("Read: got error %v, want %v", err, test.want)
			}
			if _, err := NewReader(32<<20).Read(strings.NewReader(test.body), opts); !errors.Is(err, test.want) {
				t.Errorf("Reader.Read: got error %v, want %v", err, test.want)
			}
		})
	}
}

// labelled returns a line with n labels.
func labelled(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",a%d=\"\"", i)
	}
	return "m{" + b.String()[1:] + "} 1\n"
}
