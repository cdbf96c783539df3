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

// targetLabels are those of the target of a body. The first come with an exposed name
// that collides with them in some seed.
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

// farFuture is a timestamp that seconds in a float may not tell exactly.
var farFuture = regexp.MustCompile(`[0-9]{16}`)

// isDeliberate says whether a body is treated otherwise than by Prometheus on
// purpose: a NUL byte can end Prometheus's parse of text in silence, blanks before a
// name become part of it there, timestamps in the far future are lost, and
// OpenMetrics must be valid UTF-8 throughout.
func isDeliberate(b Body) bool {
	if b.ContentType == Protobuf {
		return false
	}
	if bytes.IndexByte(b.Text, 0) >= 0 || farFuture.Match(b.Text) {
		return true
	}
	if b.ContentType != TextFormat {
		return !utf8.Valid(b.Text) // in the name of an exemplar's label
	}
	for l := range bytes.Lines(b.Text) {
		if l[0] == ' ' || l[0] == '\t' {
			return true
		}
	}
	return false
}

// Body is what a target answers.
type Body struct {
	Text        []byte
	ContentType string
}

// Check merges the bodies, one a target, in each format, and compares with
// Prometheus.
func Check(t testing.TB, bodies ...Body) {
	t.Helper()
	check(t, bodies, false)
}

// CheckWithTypes compares the types of the series too, which bodies made by nobody
// may get wrong.
func CheckWithTypes(t testing.TB, bodies ...Body) {
	t.Helper()
	check(t, bodies, true)
}

func check(t testing.TB, bodies []Body, checkTypes bool) {
	t.Helper()
	for answerType, accept := range map[string]string{
		TextFormat:  "text/plain;version=1.0.0;escaping=allow-utf-8",
		OpenMetrics: "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
		Protobuf:    Protobuf + ";escaping=allow-utf-8",
	} {
		checkFormat(t, exposition.Negotiate(accept), answerType, bodies, checkTypes)
	}
}

func checkFormat(t testing.TB, format exposition.Format, answerType string, bodies []Body, checkTypes bool) {
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
			t.Fatalf("body %d: error of another kind: %v", i, err)
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
			continue // our decoder is stricter; see TestProtobuf
		}
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("body %d, %s: we say %v, Prometheus says %v\n%q", i, b.ContentType, err, theirErr, b.Text)
		}
		if err == nil {
			want = append(want, expected(theirs, b.ContentType, promLabels(targetLabels(i)), answerType)...)
		}
	}
	answer := writeTwice(t, format, parts)
	if other := writeTwice(t, format, fastParts); !bytes.Equal(answer, other) {
		t.Fatalf("the engines differ: the reference says\n%s\nthe other\n%s", answer, other)
	}
	exposition.Merge(format, fastParts).Release()
	merged, err := parse(answer, answerType)
	if err != nil {
		t.Fatalf("Prometheus refuses the answer: %v\n%s", err, answer)
	}
	if answerType != Protobuf {
		if err := checkStrict(answer, answerType); err != nil {
			t.Fatalf("%v\n%s", err, answer)
		}
	}
	isOther := func(b Body) bool {
		// What comes in protobuf for an answer in lines is written by another library.
		return isDeliberate(b) || answerType != Protobuf && b.ContentType == Protobuf
	}
	if slices.ContainsFunc(bodies, isOther) {
		return
	}
	compare(t, merged, want, answer)
	if checkTypes {
		compareTypes(t, merged, want, exposition.Merge(format, parts).Conflicts())
	}
}

// readTwice reads a body with the fast engine, which knows its shapes the second
// time. It must say what the reference says.
func readTwice(t testing.TB, reader *exposition.Reader, b Body, opts exposition.Options, want error) *exposition.Body {
	t.Helper()
	var body *exposition.Body
	for range 2 {
		var err error
		body, err = reader.Read(bytes.NewReader(b.Text), opts)
		if fmt.Sprint(err) != fmt.Sprint(want) {
			t.Fatalf("the engines differ: the reference says %v, the other %v\n%q", want, err, b.Text)
		}
	}
	return body
}

// compare wants the same series, in any order.
func compare(t testing.TB, got, want []series, answer []byte) {
	t.Helper()
	lines := func(all []series) []string {
		var lines []string
		for _, s := range all {
			lines = append(lines, s.String())
		}
		slices.Sort(lines)
		return lines
	}
	have, need := lines(got), lines(want)
	if slices.Equal(have, need) {
		return
	}
	isIn := func(list []string) func(string) bool {
		return func(s string) bool {
			_, found := slices.BinarySearch(list, s)
			return found
		}
	}
	t.Fatalf("answer differs:\nlacks   %.5000q\nhas too %.5000q\n\n%.20000s",
		slices.DeleteFunc(slices.Clone(need), isIn(have)), slices.DeleteFunc(slices.Clone(have), isIn(need)), answer)
}

// compareTypes wants each series to have the type that it has alone, but for those
// that targets disagree on.
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

// writeTwice writes the answer, and fails if the same parts give other bytes.
func writeTwice(t testing.TB, format exposition.Format, parts []exposition.Part) []byte {
	t.Helper()
	var answer, again bytes.Buffer
	if _, err := exposition.Merge(format, parts).WriteTo(&answer); err != nil {
		t.Fatal(err)
	}
	if _, err := exposition.Merge(format, parts).WriteTo(&again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(answer.Bytes(), again.Bytes()) {
		t.Fatal("the same parts gave other bytes")
	}
	return answer.Bytes()
}
