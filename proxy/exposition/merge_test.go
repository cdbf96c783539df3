package exposition

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the answers of testdata/merge anew")

// TestMerge runs the scenarios of testdata/merge. A file named LABELS is the body
// of a target with these labels, down if the name ends in (down); the file answer
// is what they merge to, and conflicts what had to be resolved.
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
			var parts []Part
			var want [2]string
			targets := archive.Files[:0:0]
			for _, f := range archive.Files {
				switch f.Name {
				case "answer":
					want[0] = string(f.Data)
				case "conflicts":
					want[1] = string(f.Data)
				default:
					targets = append(targets, f)
					parts = append(parts, partOf(t, f))
				}
			}
			merged := Merge(parts)
			got := [2]string{write(t, merged), fmt.Sprintf("%+v %q\n", merged.Conflicts(), merged.Demoted())}
			if *update {
				results := []txtar.File{{Name: "answer", Data: []byte(got[0])}, {Name: "conflicts", Data: []byte(got[1])}}
				archive.Files = slices.Concat(targets, results)
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s%s\nwant\n%s%s", got[0], got[1], want[0], want[1])
			}
		})
	}
}

func partOf(t *testing.T, f txtar.File) Part {
	t.Helper()
	name, isDown := strings.CutSuffix(f.Name, " (down)")
	labels := labelsOf(name)
	if isDown {
		return Part{Labels: labels, HasUp: true}
	}
	return Part{Labels: labels, HasUp: true, Up: true, Body: mustRead(t, string(f.Data), labels)}
}

// labelsOf reads a=x,b=y.
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
	b, err := Read(strings.NewReader(body), Options{Labels: labels})
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
		t.Fatalf("WriteTo says %d bytes and %v, wrote %d", n, err, out.Len())
	}
	return out.String()
}

func TestWriteToInPieces(t *testing.T) {
	labels := labelsOf("pod=a")
	body := strings.Repeat("x", 200)
	var lines strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&lines, "m{i=\"%d\",l=%q} 1\n", i, body)
	}
	m := Merge([]Part{{Labels: labels, Body: mustRead(t, lines.String(), labels)}})
	var pieces pieceWriter
	if _, err := m.WriteTo(&pieces); err != nil {
		t.Fatal(err)
	}
	if pieces.count < 5 || pieces.largest > 128<<10 {
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
		b, err := Read(strings.NewReader(body), Options{Labels: labels})
		return Part{Labels: labels, HasUp: true, Up: err == nil, Body: b}
	}
	_, _ = Merge([]Part{
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
