package exposition

import (
	"slices"
	"strings"
	"testing"
)

// FuzzMerge merges two bodies, each for two targets. What comes out must be
// readable, hold all samples, and stay the same when it is merged again.
func FuzzMerge(f *testing.F) {
	all := bodies(f)
	for _, body := range all {
		f.Add(body, all["conflict.txt"])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		var parts []Part
		samples := 0
		for i, body := range []string{a, b, a} {
			labels := labelsOf([]string{"pod=a", "pod=b,exported_pod=c", "x=1"}[i])
			read, err := Read(strings.NewReader(body), Options{Labels: labels})
			if err != nil {
				continue
			}
			samples += 1 + read.Samples()
			parts = append(parts, Part{Labels: labels, HasUp: true, Up: true, Body: read})
		}
		answer := write(t, Merge(parts))
		again, err := Read(strings.NewReader(answer), Options{})
		if err != nil {
			t.Fatalf("the answer is not readable: %v\n%s", err, answer)
		}
		if again.Samples() != samples {
			t.Fatalf("%d samples went in, %d came out\n%s", samples, again.Samples(), answer)
		}
		if conflicts := again.Conflicts(); conflicts != (Conflicts{}) {
			t.Fatalf("the answer has conflicts of its own: %+v\n%s", conflicts, answer)
		}
		if len(again.rewritten) != 0 {
			t.Logf("lines that are not canonical: %q", again.rewritten)
		}
		if second := write(t, Merge([]Part{{Body: again}})); !slices.Equal(sortedLines(second), sortedLines(answer)) {
			t.Fatalf("merged again it differs\n%s\n%s", second, answer)
		}
	})
}

// sortedLines leaves out where the family up stands: without targets of its own it
// is a family as any other.
func sortedLines(s string) []string {
	return slices.Sorted(strings.SplitSeq(s, "\n"))
}
