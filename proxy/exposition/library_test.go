package exposition

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

// TestLearnedMemory checks that what is learned is counted within 20 % of what the heap grows
// by.
func TestLearnedMemory(t *testing.T) {
	family := func(n int, text func(i int) string) func() []testBody {
		return func() []testBody {
			var all []testBody
			var b strings.Builder
			for i := range n {
				b.WriteString(text(i))
				if b.Len() > 1<<20 || i == n-1 {
					all = append(all, testBody{"", textType, b.String()})
					b.Reset()
				}
			}
			return all
		}
	}
	long := strings.Repeat("Help. ", 200)
	for name, bodies := range map[string]func() []testBody{
		"small families": family(20_000, func(i int) string { return fmt.Sprintf("# TYPE m%d gauge\nm%d 1\n", i, i) }),
		"long HELP":      family(5_000, func(i int) string { return fmt.Sprintf("# HELP m%d %s\n# TYPE m%d gauge\nm%d 1\n", i, long, i, i) }),
		"many lines": family(200, func(i int) string {
			var b strings.Builder
			fmt.Fprintf(&b, "# TYPE m%d counter\n", i)
			for j := range 500 {
				fmt.Fprintf(&b, "m%d{path=\"/a/b\",code=\"%d\"} 1\n", i, j)
			}
			return b.String()
		}),
		"many labels": family(2_000, func(i int) string {
			var b strings.Builder
			fmt.Fprintf(&b, "# TYPE m%d gauge\nm%d{", i, i)
			for j := range 100 {
				fmt.Fprintf(&b, "l%d=\"v\",", j)
			}
			return strings.TrimSuffix(b.String(), ",") + "} 1\n"
		}),
		"histograms": family(1_000, func(i int) string {
			var b strings.Builder
			fmt.Fprintf(&b, "# HELP h%d Help.\n# TYPE h%d histogram\n", i, i)
			for j := range 30 {
				fmt.Fprintf(&b, "h%d_bucket{a=\"b\",le=\"%d\"} 1\n", i, j)
			}
			fmt.Fprintf(&b, "h%d_bucket{a=\"b\",le=\"+Inf\"} 1\nh%d_sum{a=\"b\"} 1\nh%d_count{a=\"b\"} 1\n", i, i, i)
			return b.String()
		}),
	} {
		for output, format := range map[string]Format{"text": outputs["text"], "openmetrics": outputs["openmetrics"]} {
			t.Run(name+" to "+output, func(t *testing.T) {
				all := bodies()
				before := heap()
				r := NewReader(64 << 20)
				readAll(t, r, all, format)
				r.DropFree()
				grown, counted := heap()-before, r.LearnedMemory()
				if counted < 2<<20 || counted > grown*6/5 || grown > counted*6/5 {
					t.Errorf("the heap grew by %d bytes, but %d are counted", grown, counted)
				}
				runtime.KeepAlive(all)
				runtime.KeepAlive(r)
			})
		}
	}
}

// TestLearnedMemoryOfManyFormats checks that what is learned is bounded over all formats that
// clients ask for.
func TestLearnedMemoryOfManyFormats(t *testing.T) {
	const limit = 8 << 20
	var all []testBody
	for pod := range 2 {
		var b strings.Builder
		for i := range 20_000 {
			fmt.Fprintf(&b, "# TYPE m%d_%d gauge\nm%d_%d 1\n", pod, i, pod, i)
		}
		all = append(all, testBody{"", textType, b.String()})
	}
	before := heap()
	r := NewReader(limit)
	for _, syntax := range []syntax{text, openMetrics} {
		for escaping := range model.EscapingScheme(4) {
			readAll(t, r, all, Format{syntax: syntax, escaping: escaping})
			if got := r.LearnedMemory(); got > limit {
				t.Fatalf("%d bytes are learned, want at most %d", got, limit)
			}
		}
	}
	r.DropFree()
	if grown := heap() - before; grown > 3*limit {
		t.Errorf("the heap grew by %d bytes, want about %d", grown, limit)
	}
	runtime.KeepAlive(all)
	runtime.KeepAlive(r)
}

func readAll(t *testing.T, r *Reader, all []testBody, format Format) {
	t.Helper()
	for _, b := range all {
		body, err := r.Read(strings.NewReader(b.text), Options{Format: format, ContentType: b.contentType})
		if err != nil {
			t.Fatal(err)
		}
		body.Release()
	}
}
