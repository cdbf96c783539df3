package differential

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// seeds returns handwritten bodies and bodies that have revealed bugs.
func seeds(tb testing.TB) []Body {
	var all []Body
	corpus := os.Getenv("EXPOSITION_CORPUS") // optional directory with test data of public parsers
	for pattern, contentType := range map[string]string{
		"../../../proxy/exposition/testdata/bodies/*.txt": TextFormat,
		"../../../proxy/exposition/testdata/bodies/*.om":  OpenMetrics,
		corpus + "/text/*/*.txt":                          TextFormat,
		corpus + "/openmetrics/*/*.txt":                   OpenMetrics,
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
			all = append(all, Body{content, contentType})
		}
	}
	return append(all, protobufBodies(tb)...)
}

func TestSingleBodies(t *testing.T) {
	for _, b := range seeds(t) {
		Check(t, b)
	}
}

func TestCombinedBodies(t *testing.T) {
	all := seeds(t)
	for i, a := range all {
		Check(t, a, all[(i+1)%len(all)], a, all[(i*7)%len(all)])
	}
}

func FuzzMerge(f *testing.F) {
	types := []string{TextFormat, OpenMetrics, Protobuf}
	all := seeds(f)
	for i, a := range all {
		b := all[(i+1)%len(all)]
		f.Add(a.Text, b.Text, uint8(slices.Index(types, a.ContentType)), uint8(slices.Index(types, b.ContentType)))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, aType, bType uint8) {
		x, y := Body{a, types[aType%3]}, Body{b, types[bType%3]}
		Check(t, x, y, y, x)
	})
}
