package differential

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

// isDeliberate says whether a body is treated otherwise than by Prometheus on
// purpose: a NUL byte can end Prometheus's parse in silence, and blanks before a
// name become part of it.
func isDeliberate(body []byte) bool {
	if bytes.IndexByte(body, 0) >= 0 {
		return true
	}
	for l := range bytes.Lines(body) {
		if len(l) > 0 && (l[0] == ' ' || l[0] == '\t') {
			return true
		}
	}
	return false
}

// check merges the bodies, one a target, and compares with Prometheus.
func check(t *testing.T, bodies ...[]byte) {
	t.Helper()
	var parts []exposition.Part
	var want []string
	for i, body := range bodies {
		l := exposition.NewLabels(targets[i])
		parsed, err := exposition.Read(bytes.NewReader(body), exposition.Options{Labels: l})
		var syntax *exposition.SyntaxError
		if err != nil && !errors.As(err, &syntax) {
			t.Fatalf("body %d: error of another kind: %v", i, err)
		}
		theirs, theirErr := parse(body)
		if isDeliberate(body) {
			if err == nil {
				parts = append(parts, exposition.Part{Labels: l, Up: true, HasUp: true, Body: parsed})
			}
			continue
		}
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("body %d: we say %v, Prometheus says %v\n%q", i, err, theirErr, body)
		}
		if err == nil {
			parts = append(parts, exposition.Part{Labels: l, Up: true, HasUp: true, Body: parsed})
			want = append(want, expected(theirs, promLabels(targets[i]))...)
		}
	}
	var answer, again bytes.Buffer
	if _, err := exposition.Merge(parts).WriteTo(&answer); err != nil {
		t.Fatal(err)
	}
	_, _ = exposition.Merge(parts).WriteTo(&again)
	if !bytes.Equal(answer.Bytes(), again.Bytes()) {
		t.Fatal("the same parts gave other bytes")
	}
	merged, err := parse(answer.Bytes())
	if err != nil {
		t.Fatalf("Prometheus refuses the answer: %v\n%s", err, answer.Bytes())
	}
	if err := checkForm(answer.Bytes()); err != nil {
		t.Fatalf("%v\n%s", err, answer.Bytes())
	}
	if slices.ContainsFunc(bodies, isDeliberate) {
		return
	}
	var got []string
	for _, s := range merged {
		got = append(got, s.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("answer differs:\ngot  %s\nwant %s\n\n%s", strings.Join(got, "\n     "), strings.Join(want, "\n     "), answer.Bytes())
	}
}

// seeds are bodies that found something, or that a person thought of.
func seeds(tb testing.TB) [][]byte {
	var all [][]byte
	for _, pattern := range []string{
		"../../proxy/exposition/testdata/bodies/*.txt",
		os.Getenv("EXPOSITION_CORPUS") + "/text/*/*.txt", // public parser test data, where there is a copy
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range files {
			body, err := os.ReadFile(f)
			if err != nil {
				tb.Fatal(err)
			}
			all = append(all, body)
		}
	}
	return all
}

func TestEachBodyAlone(t *testing.T) {
	for _, body := range seeds(t) {
		check(t, body)
	}
}

func TestBodiesInPairs(t *testing.T) {
	all := seeds(t)
	for i, a := range all {
		check(t, a, all[(i+1)%len(all)], a, all[(i*7)%len(all)])
	}
}

func FuzzMerge(f *testing.F) {
	all := seeds(f)
	for i, a := range all {
		f.Add(a, all[(i+1)%len(all)])
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		check(t, a, b, b, a)
	})
}
