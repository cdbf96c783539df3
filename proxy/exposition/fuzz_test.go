package exposition

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

// FuzzMerge merges two bodies, each for two targets, in every format and escaping.
// What comes out must be readable, hold all samples, and stay the same when it is
// merged again.
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
		answer := write(t, Merge(format, parts))
		again, err := Read(strings.NewReader(answer), Options{Format: format, ContentType: format.ContentType()})
		if err != nil {
			t.Fatalf("the answer is not readable: %v\n%s", err, answer)
		}
		if again.Samples() != samples {
			t.Fatalf("%d samples went in, %d came out\n%s", samples, again.Samples(), answer)
		}
		if len(again.conflicts) != 0 || len(again.rewritten) != 0 && format.escaping != model.NoEscaping {
			t.Fatalf("the answer is not as it should be: conflicts %v, lines that are not canonical %q\n%s", again.conflicts, again.rewritten, answer)
		}
		if second := write(t, Merge(format, []Part{{Body: again}})); !slices.Equal(sortedLines(second), sortedLines(answer)) {
			t.Fatalf("merged again it differs\n%s\n%s", second, answer)
		}
	})
}

// sortedLines leaves out where the family up stands: without targets of its own it
// is a family as any other.
func sortedLines(s string) []string {
	return slices.Sorted(strings.SplitSeq(s, "\n"))
}
