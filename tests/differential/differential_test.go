package differential

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
)

// targets are the label sets of up to four targets. Each comes with an exposed
// name that collides with it in some seed.
var targets = [][]exposition.Label{
	{{Name: "pod", Value: "a"}, {Name: "namespace", Value: `q"\` + "\n"}},
	{{Name: "pod", Value: "b"}},
	{{Name: "x", Value: "1"}, {Name: "exported_x", Value: "2"}},
	{{Name: "k8s_pod_name", Value: "b"}, {Name: "k8s_namespace", Value: "n"}},
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
func isDeliberate(b body) bool {
	if b.contentType == protobuf {
		return false
	}
	if bytes.IndexByte(b.text, 0) >= 0 || farFuture.Match(b.text) {
		return true
	}
	if b.contentType != textFormat {
		return !utf8.Valid(b.text) // in the name of an exemplar's label
	}
	for l := range bytes.Lines(b.text) {
		if l[0] == ' ' || l[0] == '\t' {
			return true
		}
	}
	return false
}

// body is what a target answers.
type body struct {
	text        []byte
	contentType string
}

// check merges the bodies, one a target, in each format, and compares with
// Prometheus.
func check(t *testing.T, bodies ...body) {
	t.Helper()
	for answerType, accept := range map[string]string{
		textFormat:  "text/plain;version=1.0.0;escaping=allow-utf-8",
		openMetrics: "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
		protobuf:    protobuf + ";escaping=allow-utf-8",
	} {
		checkFormat(t, exposition.Negotiate(accept), answerType, bodies)
	}
}

func checkFormat(t *testing.T, format exposition.Format, answerType string, bodies []body) {
	t.Helper()
	var parts []exposition.Part
	var want []string
	for i, b := range bodies {
		l := exposition.NewLabels(targets[i])
		parsed, err := exposition.Read(bytes.NewReader(b.text), exposition.Options{Format: format, ContentType: b.contentType, Labels: l})
		var syntax *exposition.SyntaxError
		if err != nil && !errors.As(err, &syntax) {
			t.Fatalf("body %d: error of another kind: %v", i, err)
		}
		if err == nil {
			parts = append(parts, exposition.Part{Labels: l, Up: true, HasUp: true, Body: parsed})
		}
		if isDeliberate(b) {
			continue
		}
		theirs, theirErr := parse(b.text, b.contentType)
		if err != nil && b.contentType == protobuf {
			continue // our decoder is stricter; see TestProtobuf
		}
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("body %d, %s: we say %v, Prometheus says %v\n%q", i, b.contentType, err, theirErr, b.text)
		}
		if err == nil {
			want = append(want, expected(theirs, b.contentType, promLabels(targets[i]), answerType)...)
		}
	}
	answer := writeTwice(t, format, parts)
	merged, err := parse(answer, answerType)
	if err != nil {
		t.Fatalf("Prometheus refuses the answer: %v\n%s", err, answer)
	}
	if answerType != protobuf {
		if err := checkForm(answer); err != nil {
			t.Fatalf("%v\n%s", err, answer)
		}
	}
	isOther := func(b body) bool {
		// What comes in protobuf for an answer in lines is written by another library.
		return isDeliberate(b) || answerType != protobuf && b.contentType == protobuf
	}
	if slices.ContainsFunc(bodies, isOther) {
		return
	}
	var got []string
	for _, s := range merged {
		got = append(got, s.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		isIn := func(list []string) func(string) bool {
			return func(s string) bool { return slices.Contains(list, s) }
		}
		t.Fatalf("answer differs:\nlacks   %s\nhas too %s\n\n%s",
			slices.DeleteFunc(slices.Clone(want), isIn(got)), slices.DeleteFunc(slices.Clone(got), isIn(want)), answer)
	}
}

// writeTwice writes the answer, and fails if the same parts give other bytes.
func writeTwice(t *testing.T, format exposition.Format, parts []exposition.Part) []byte {
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

// seeds are bodies that found something, or that a person thought of.
func seeds(tb testing.TB) []body {
	var all []body
	corpus := os.Getenv("EXPOSITION_CORPUS") // public parser test data, where there is a copy
	for pattern, contentType := range map[string]string{
		"../../proxy/exposition/testdata/bodies/*.txt": textFormat,
		"../../proxy/exposition/testdata/bodies/*.om":  openMetrics,
		corpus + "/text/*/*.txt":                       textFormat,
		corpus + "/openmetrics/*/*.txt":                openMetrics,
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range files {
			content, err := os.ReadFile(f)
			if err != nil {
				tb.Fatal(err)
			}
			all = append(all, body{content, contentType})
		}
	}
	return append(all, protobufBodies(tb)...)
}

func TestEachBodyAlone(t *testing.T) {
	for _, b := range seeds(t) {
		check(t, b)
	}
}

func TestBodiesTogether(t *testing.T) {
	all := seeds(t)
	for i, a := range all {
		check(t, a, all[(i+1)%len(all)], a, all[(i*7)%len(all)])
	}
}

func FuzzMerge(f *testing.F) {
	types := []string{textFormat, openMetrics, protobuf}
	all := seeds(f)
	for i, a := range all {
		b := all[(i+1)%len(all)]
		f.Add(a.text, b.text, uint8(slices.Index(types, a.contentType)), uint8(slices.Index(types, b.contentType)))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, aType, bType uint8) {
		x, y := body{a, types[aType%3]}, body{b, types[bType%3]}
		check(t, x, y, y, x)
	})
}
