package exposition

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the answers of testdata/merge anew")

// answers are the output formats that each scenario is merged into.
var answers = map[string]Format{
	"text":        Negotiate(""),
	"openmetrics": Negotiate("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"),
}

// TestMerge runs the scenarios in testdata/merge. A file named LABELS is the body of a
// target with these labels, "LABELS openmetrics" is one in OpenMetrics, and "LABELS
// down" is a target that is down. Files named after an output format contain the
// expected output and the conflicts.
func TestMerge(t *testing.T) {
	files, err := filepath.Glob("testdata/merge/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var targets, results []txtar.File
			want := map[string]string{}
			for _, f := range archive.Files {
				if name, _, _ := strings.Cut(f.Name, " "); answers[name] != (Format{}) || name == "text" {
					want[f.Name] = string(f.Data)
				} else {
					targets = append(targets, f)
				}
			}
			for _, name := range slices.Sorted(maps.Keys(answers)) {
				var parts []Part
				for _, f := range targets {
					parts = append(parts, partOf(t, f, answers[name]))
				}
				merged := Merge(answers[name], parts)
				results = append(results, txtar.File{Name: name, Data: []byte(write(t, merged))})
				var conflicts strings.Builder
				for _, c := range merged.Conflicts() {
					fmt.Fprintf(&conflicts, "%+v\n", c)
				}
				if conflicts.Len() > 0 {
					results = append(results, txtar.File{Name: name + " conflicts", Data: []byte(conflicts.String())})
				}
			}
			if *update {
				archive.Files = slices.Concat(targets, results)
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(results) != len(want) {
				t.Errorf("%d results, want %d", len(results), len(want))
			}
			for _, r := range results {
				if string(r.Data) != want[r.Name] {
					t.Errorf("%s: got\n%s\nwant\n%s", r.Name, r.Data, want[r.Name])
				}
			}
		})
	}
}

func partOf(t *testing.T, f txtar.File, format Format) Part {
	t.Helper()
	name, kind, _ := strings.Cut(f.Name, " ")
	labels := labelsOf(name)
	opts := Options{Format: format, ContentType: textType, Labels: labels}
	switch kind {
	case "down":
		return Part{Labels: labels, HasUp: true}
	case "openmetrics":
		opts.ContentType = openMetricsType
	}
	body, err := Read(bytes.NewReader(f.Data), opts)
	if err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
	return Part{Labels: labels, HasUp: true, Up: true, Body: body}
}

// labelsOf parses labels like a=x,b=y.
func labelsOf(s string) Labels {
	var labels []Label
	for pair := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(pair, "=")
		labels = append(labels, Label{name, value})
	}
	return NewLabels(labels)
}

func mustRead(t testing.TB, body string, labels Labels) *Body {
	t.Helper()
	b, err := Read(strings.NewReader(body), Options{ContentType: textType, Labels: labels})
	if err != nil {
		t.Fatalf("cannot read %q: %v", body, err)
	}
	return b
}

func write(t testing.TB, m *Merged) string {
	t.Helper()
	var out bytes.Buffer
	n, err := m.WriteTo(&out)
	if err != nil || n != int64(out.Len()) {
		t.Fatalf("WriteTo returned %d bytes and %v, wrote %d", n, err, out.Len())
	}
	return out.String()
}

func TestWriteToInPieces(t *testing.T) {
	labels := labelsOf("pod=a")
	body := strings.Repeat("x", 200)
	var lines strings.Builder
	for i := range 8000 {
		fmt.Fprintf(&lines, "m{i=\"%d\",l=%q} 1\n", i, body)
	}
	m := Merge(Format{}, []Part{{Labels: labels, Body: mustRead(t, lines.String(), labels)}})
	var pieces pieceWriter
	if _, err := m.WriteTo(&pieces); err != nil {
		t.Fatal(err)
	}
	if pieces.count < 3 || pieces.largest > writeSize+writeSize/4 {
		t.Errorf("%d pieces, the largest of %d bytes", pieces.count, pieces.largest)
	}
	if _, err := m.WriteTo(failingWriter{}); err == nil {
		t.Error("an error of the writer was lost")
	}
}

type pieceWriter struct{ count, largest int }

func (p *pieceWriter) Write(b []byte) (int, error) {
	p.count++
	p.largest = max(p.largest, len(b))
	return len(b), nil
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func ExampleMerge() {
	read := func(pod, body string) Part {
		labels := NewLabels([]Label{{"pod", pod}})
		b, err := Read(strings.NewReader(body), Options{ContentType: textType, Labels: labels})
		return Part{Labels: labels, HasUp: true, Up: err == nil, Body: b}
	}
	_, _ = Merge(Format{}, []Part{
		read("web-0", "# TYPE requests_total counter\nrequests_total{code=\"200\"} 3\n"),
		read("web-1", "# TYPE requests_total counter\nrequests_total{code=\"200\"} 5\n"),
		read("web-2", "<html>"),
	}).WriteTo(os.Stdout)
	// Output:
	// # HELP up 1 if the target answered this scrape with a valid exposition, 0 if it did not.
	// # TYPE up gauge
	// up{pod="web-0"} 1
	// up{pod="web-1"} 1
	// up{pod="web-2"} 0
	// # TYPE requests_total counter
	// requests_total{pod="web-0",code="200"} 3
	// requests_total{pod="web-1",code="200"} 5
}
