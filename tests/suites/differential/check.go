package differential

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
)

// targetLabels returns the labels of the target of body i. Labels of the first targets
// collide with labels in some seeds.
func targetLabels(i int) []exposition.Label {
	switch i {
	case 0:
		return []exposition.Label{{Name: "pod", Value: "a"}, {Name: "namespace", Value: `q"\` + "\n"}}
	case 1:
		return []exposition.Label{{Name: "pod", Value: "b"}}
	case 2:
		return []exposition.Label{{Name: "x", Value: "1"}, {Name: "exported_x", Value: "2"}}
	default:
		return []exposition.Label{{Name: "k8s_pod_name", Value: fmt.Sprint("pod-", i)}, {Name: "k8s_namespace", Value: "n"}}
	}
}

func promLabels(l []exposition.Label) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, label := range l {
		b.Set(label.Name, label.Value)
	}
	return b.Labels()
}

// farFuture matches timestamps that a float64, in seconds, may not represent exactly.
var farFuture = regexp.MustCompile(`[0-9]{16}`)

// isDeliberate reports whether this project deliberately parses a body differently from
// Prometheus. In Prometheus's parser, a NUL byte can end the parsing of text without an
// error, blanks before a name become part of the name, timestamps in the far future lose
// precision, and OpenMetrics may contain invalid UTF-8.
func isDeliberate(b Body) bool {
	if b.ContentType == Protobuf {
		return false
	}
	if bytes.IndexByte(b.Text, 0) >= 0 || farFuture.Match(b.Text) {
		return true
	}
	if b.ContentType != TextFormat {
		return !utf8.Valid(b.Text) // in the label name of an exemplar
	}
	for l := range bytes.Lines(b.Text) {
		if l[0] == ' ' || l[0] == '\t' {
			return true
		}
	}
	return false
}

// Body is the response of a target.
type Body struct {
	Text        []byte
	ContentType string
}

// Check merges the bodies, one per target, into each format, and compares the result with
// Prometheus.
func Check(t testing.TB, bodies ...Body) {
	t.Helper()
	check(t, bodies, false)
}

// CheckWithTypes also compares the types of the series, which can be wrong in generated
// bodies.
func CheckWithTypes(t testing.TB, bodies ...Body) {
	t.Helper()
	check(t, bodies, true)
}

func check(t testing.TB, bodies []Body, checkTypes bool) {
	t.Helper()
	for responseType, accept := range map[string]string{
		TextFormat:  "text/plain;version=1.0.0;escaping=allow-utf-8",
		OpenMetrics: "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
		Protobuf:    Protobuf + ";escaping=allow-utf-8",
	} {
		checkFormat(t, exposition.Negotiate(accept), responseType, bodies, checkTypes)
	}
}

func checkFormat(t testing.TB, format exposition.Format, responseType string, bodies []Body, checkTypes bool) {
	t.Helper()
	var parts, fastParts []exposition.Part
	var want []series
	reader := exposition.NewReader(32 << 20)
	for i, b := range bodies {
		l := exposition.NewLabels(targetLabels(i))
		opts := exposition.Options{Format: format, ContentType: b.ContentType, Labels: l}
		parsed, err := exposition.Read(bytes.NewReader(b.Text), opts)
		fast := readTwice(t, reader, b, opts, err)
		var syntax *exposition.SyntaxError
		if err != nil && !errors.As(err, &syntax) {
			t.Fatalf("body %d: error %v, want a SyntaxError", i, err)
		}
		if err == nil {
			parts = append(parts, exposition.Part{Labels: l, Up: true, HasUp: true, Body: parsed})
			fastParts = append(fastParts, exposition.Part{Labels: l, Up: true, HasUp: true, Body: fast})
		}
		if isDeliberate(b) {
			continue
		}
		theirs, theirErr := parse(b.Text, b.ContentType)
		if err != nil && b.ContentType == Protobuf {
			continue // the proxy's decoder is stricter; see TestProtobuf
		}
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("body %d, %s: the proxy returns error %v, Prometheus returns %v\n%q", i, b.ContentType, err, theirErr, b.Text)
		}
		if err == nil {
			want = append(want, expected(theirs, b.ContentType, promLabels(targetLabels(i)), responseType)...)
		}
	}
	response := writeTwice(t, format, parts)
	if other := writeTwice(t, format, fastParts); !bytes.Equal(response, other) {
		t.Fatalf("the engines differ: the reference engine results in\n%s\nthe fast engine in\n%s", response, other)
	}
	exposition.Merge(format, fastParts).Release()
	merged, err := parse(response, responseType)
	if err != nil {
		t.Fatalf("Prometheus rejects the response: %v\n%s", err, response)
	}
	if responseType != Protobuf {
		if err := checkStrict(response, responseType); err != nil {
			t.Fatalf("%v\n%s", err, response)
		}
	}
	isOther := func(b Body) bool {
		// Protobuf bodies that are converted to a text format are written by another library.
		return isDeliberate(b) || responseType != Protobuf && b.ContentType == Protobuf
	}
	if slices.ContainsFunc(bodies, isOther) {
		return
	}
	compare(t, merged, want, response)
	if checkTypes {
		compareTypes(t, merged, want, exposition.Merge(format, parts).Conflicts())
	}
}

// readTwice reads a body twice with the fast engine, which knows the shapes of the body the
// second time. The error must be that of the reference engine.
func readTwice(t testing.TB, reader *exposition.Reader, b Body, opts exposition.Options, want error) *exposition.Body {
	t.Helper()
	var body *exposition.Body
	for range 2 {
		var err error
		body, err = reader.Read(bytes.NewReader(b.Text), opts)
		if fmt.Sprint(err) != fmt.Sprint(want) {
			t.Fatalf("the engines differ: the reference engine returns error %v, the fast engine %v\n%q", want, err, b.Text)
		}
	}
	return body
}

// compare checks that got and want have the same series, in any order.
func compare(t testing.TB, got, want []series, response []byte) {
	t.Helper()
	lines := func(all []series) []string {
		var lines []string
		for _, s := range all {
			lines = append(lines, s.String())
		}
		slices.Sort(lines)
		return lines
	}
	gotLines, wantLines := lines(got), lines(want)
	if slices.Equal(gotLines, wantLines) {
		return
	}
	isIn := func(list []string) func(string) bool {
		return func(s string) bool {
			_, found := slices.BinarySearch(list, s)
			return found
		}
	}
	t.Fatalf("the response differs:\nmissing    %.5000q\nunexpected %.5000q\n\n%.20000s",
		slices.DeleteFunc(slices.Clone(wantLines), isIn(gotLines)), slices.DeleteFunc(slices.Clone(gotLines), isIn(wantLines)), response)
}

// compareTypes checks that the merge preserves the type of each series, unless the types of
// targets conflict.
func compareTypes(t testing.TB, got, want []series, conflicts []exposition.Conflict) {
	t.Helper()
	types := map[string]model.MetricType{}
	for _, s := range got {
		types[s.key()] = s.typ
	}
	for _, s := range want {
		is := types[s.key()]
		if s.typ == "" || is == s.typ {
			continue
		}
		isDemoted := func(c exposition.Conflict) bool {
			return c.Kind == exposition.TypeConflict && strings.HasPrefix(s.labels.Get(model.MetricNameLabel), c.Family)
		}
		if is != model.MetricTypeUnknown || !slices.ContainsFunc(conflicts, isDemoted) {
			t.Errorf("type of %s is %s, want %s", s.labels, is, s.typ)
		}
	}
}

// writeTwice merges and writes the parts twice, and fails if the results differ.
func writeTwice(t testing.TB, format exposition.Format, parts []exposition.Part) []byte {
	t.Helper()
	var response, again bytes.Buffer
	if _, err := exposition.Merge(format, parts).WriteTo(&response); err != nil {
		t.Fatal(err)
	}
	if _, err := exposition.Merge(format, parts).WriteTo(&again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(response.Bytes(), again.Bytes()) {
		t.Fatal("two merges of the same parts differ")
	}
	return response.Bytes()
}
