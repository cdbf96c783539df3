package exposition

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// checkSame reads bodies with both engines and checks that the results are equal and
// merge to the same bytes.
func checkSame(t testing.TB, r *Reader, format Format, bodies ...testBody) {
	t.Helper()
	var want, got []Part
	for i, b := range bodies {
		labels := labelsOf(fmt.Sprintf("pod=p%d,x=", i))
		opts := Options{Format: format, ContentType: b.contentType, Labels: labels, MaxSamples: 1000}
		theirs, err := Read(strings.NewReader(b.text), opts)
		ours, ourErr := r.Read(strings.NewReader(b.text), opts)
		if fmt.Sprint(err) != fmt.Sprint(ourErr) {
			t.Fatalf("%s: the reference engine returns %v, the Reader %v\n%q", b.name, err, ourErr, b.text)
		}
		if err != nil {
			continue
		}
		if theirs.Samples() != ours.Samples() {
			t.Fatalf("%s: %d samples, want %d\n%s", b.name, ours.Samples(), theirs.Samples(), b.text)
		}
		want = append(want, Part{Labels: labels, HasUp: true, Up: true, Body: theirs})
		got = append(got, Part{Labels: labels, HasUp: true, Up: true, Body: ours})
	}
	wanted, merged := Merge(format, want), Merge(format, got)
	if a, b := write(t, wanted), write(t, merged); a != b {
		ours, theirs := firstDifference(b, a)
		t.Fatalf("the output of the Reader differs:\n%s\nwant\n%s\nfor %q", ours, theirs, bodies)
	}
	if !reflect.DeepEqual(wanted.Conflicts(), merged.Conflicts()) {
		t.Fatalf("conflicts %v, want %v", merged.Conflicts(), wanted.Conflicts())
	}
	merged.Release()
}

// firstDifference returns the first lines that differ in two texts.
func firstDifference(a, b string) (string, string) {
	as, bs := strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return as[i], bs[i]
		}
	}
	return strings.Join(as[min(len(as), len(bs)):], ""), strings.Join(bs[min(len(as), len(bs)):], "")
}

func TestReaderEqualsReference(t *testing.T) {
	all := bodies(t)
	for name, format := range answers {
		t.Run(name, func(t *testing.T) {
			r := NewReader(32 << 20)
			for range 2 { // the second time the shapes exist
				for _, b := range all {
					checkSame(t, r, format, b)
				}
			}
			for i := range all {
				checkSame(t, r, format, all[i], all[(i+7)%len(all)], all[(i+12)%len(all)])
			}
		})
	}
}

// Bodies deviate from previous ones in every way.
func TestReaderEqualsReferenceWhereBodiesDeviate(t *testing.T) {
	all := bodies(t)
	for name, format := range answers {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for _, b := range all {
				r := NewReader(32 << 20)
				for range 100 {
					checkSame(t, r, format, b, deviate(rng, b, all), deviate(rng, b, all))
				}
			}
		})
	}
}

// Shapes of several programs, and of families that they have in common, contest names,
// get newer versions, and fill a catalog.
func TestReaderEqualsReferenceWhereProgramsMix(t *testing.T) {
	all := bodies(t)
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		for _, format := range answers {
			r := NewReader([]int{32 << 20, 20_000}[seed%2])
			few := []testBody{all[rng.IntN(len(all))], all[rng.IntN(len(all))], all[rng.IntN(len(all))]}
			for range 60 {
				b := few[rng.IntN(3)]
				checkSame(t, r, format, b, deviate(rng, b, few), deviate(rng, deviate(rng, few[rng.IntN(3)], all), few))
			}
		}
	}
}

// A body is read along the last body of its target, which it may resemble or not.
func TestReaderEqualsReferenceAlongLastBodies(t *testing.T) {
	for seed := range uint64(20) {
		for contentType, end := range map[string]string{textType: "", openMetricsType: "# EOF\n"} {
			for _, format := range answers {
				rng := rand.New(rand.NewPCG(seed, 9))
				r := NewReader(32 << 20)
				base := randomProgram(rng)
				var own [3][]string
				for i := range own {
					own[i] = deviateMuch(rng, base)
				}
				for range 20 {
					var all []testBody
					for i := range own {
						all = append(all, testBody{fmt.Sprint(seed, i), contentType, strings.Join(withOtherValues(rng, own[i]), "") + end})
						if rng.IntN(4) == 0 {
							own[i] = withOneChange(rng, own[i], base)
						}
					}
					checkSame(t, r, format, all...)
				}
			}
		}
	}
}

// randomProgram returns the lines of some families, as a program might expose them.
func randomProgram(rng *rand.Rand) []string {
	var lines []string
	for f := range 2 + rng.IntN(4) {
		typ := []string{"counter", "gauge", "histogram", "summary"}[rng.IntN(4)]
		lines = append(lines, fmt.Sprintf("# TYPE f%d %s\n", f, typ))
		for i := range 1 + rng.IntN(6) {
			labels := fmt.Sprintf("a=\"v%d\",b=\"%s\"", i, strings.Repeat("w", rng.IntN(12)))
			add := func(suffix, label string) {
				lines = append(lines, fmt.Sprintf("f%d%s{%s%s} 0\n", f, suffix, labels, label))
			}
			switch typ {
			case "counter":
				add("_total", "")
			case "gauge":
				add("", "")
			case "histogram":
				add("_bucket", ",le=\"0.5\"")
				add("_bucket", ",le=\"+Inf\"")
				add("_count", "")
				add("_sum", "")
			case "summary":
				add("", ",quantile=\"0.5\"")
				add("_sum", "")
				add("_count", "")
			}
		}
	}
	return lines
}

// deviateMuch changes many of the sample lines.
func deviateMuch(rng *rand.Rand, lines []string) []string {
	for range len(lines) / 3 {
		lines = withOneChange(rng, lines, lines)
	}
	return lines
}

// withOneChange drops, changes, adds or moves a sample line.
func withOneChange(rng *rand.Rand, lines, base []string) []string {
	lines = slices.Clone(lines)
	i := rng.IntN(len(lines))
	line := lines[i]
	if line[0] == '#' {
		return lines
	}
	switch rng.IntN(7) {
	case 0:
		return slices.Delete(lines, i, i+1)
	case 1, 2:
		lines[i] = strings.Replace(line, "\",", fmt.Sprintf("-x%d\",", rng.IntN(100)), 1+rng.IntN(2))
	case 3:
		lines[i] = strings.Replace(line, "}", fmt.Sprintf(",c=\"%d\"}", rng.IntN(100)), 1)
	case 4:
		lines[i] = strings.Replace(line, "\",", "\\\\\",", 1) // an escape
	case 5:
		name, _, _ := strings.Cut(line, "{")
		for _, other := range base { // usually of the same family
			if strings.HasPrefix(other, name[:2]) && rng.IntN(3) == 0 {
				return slices.Insert(lines, i, strings.Replace(other, "\",", fmt.Sprintf("-y%d\",", rng.IntN(100)), 1))
			}
		}
	case 6:
		if i+1 < len(lines) && lines[i+1][0] != '#' {
			lines[i], lines[i+1] = lines[i+1], lines[i]
		}
	}
	return lines
}

// withOtherValues changes the value of each sample line, occasionally to an unusual
// one.
func withOtherValues(rng *rand.Rand, lines []string) []string {
	lines = slices.Clone(lines)
	for i, line := range lines {
		if name, _, ok := strings.Cut(line, "} "); ok {
			value := fmt.Sprint(rng.IntN(1000))
			switch rng.IntN(100) {
			case 0:
				value = "NaN"
			case 1:
				value += " 1700000000"
			}
			lines[i] = name + "} " + value + "\n"
		}
	}
	return lines
}

// The index of a family must fit into an operation.
func TestReaderTakesManyFamilies(t *testing.T) {
	r := NewReader(32 << 20)
	var body strings.Builder
	for i := range maxRun + 1 {
		fmt.Fprintf(&body, "m%d 1\n", i)
	}
	for _, further := range []string{"", "new{x=\"1\"} 2\n", "new{y=\"2\",z=\"3\"} 3\n"} {
		text := body.String() + further
		want, err := Read(strings.NewReader(text), Options{ContentType: textType})
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Read(strings.NewReader(text), Options{ContentType: textType})
		if err != nil {
			t.Fatal(err)
		}
		if a, b := write(t, Merge(Format{}, []Part{{Body: want}})), write(t, Merge(Format{}, []Part{{Body: got}})); a != b {
			t.Errorf("with %q, the output of the Reader differs", further)
		}
	}
}

// Many goroutines read through the same shapes while others add to them.
func TestReaderIsSafeForConcurrentUse(t *testing.T) {
	all := bodies(t)
	r := NewReader(32 << 20)
	for i := range uint64(8) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(i, i))
			for range 100 {
				b := all[rng.IntN(len(all))]
				for _, format := range answers {
					checkSame(t, r, format, b, deviate(rng, b, all), deviate(rng, b, all))
				}
			}
		})
	}
}

// deviate drops, repeats, swaps and changes lines of a body, and inserts lines of
// others.
func deviate(rng *rand.Rand, b testBody, all []testBody) testBody {
	lines := strings.SplitAfter(b.text, "\n")
	for range 1 + rng.IntN(4) {
		i, j := rng.IntN(len(lines)), rng.IntN(len(lines))
		switch rng.IntN(6) {
		case 0:
			lines = slices.Delete(lines, i, i+1)
		case 1:
			lines = slices.Insert(lines, j, lines[i])
		case 2:
			lines[i], lines[j] = lines[j], lines[i]
		case 3:
			lines[i] = strings.Replace(lines[i], "=\"", "=\"z", rng.IntN(3))
		case 4:
			lines[i] = strings.Replace(lines[i], "\n", "5\n", 1)
		case 5:
			other := strings.SplitAfter(all[rng.IntN(len(all))].text, "\n")
			lines = slices.Insert(lines, i, other[rng.IntN(len(other))])
		}
		if len(lines) == 0 {
			break
		}
	}
	return testBody{b.name + " deviating", b.contentType, strings.Join(lines, "")}
}

// unknownLines returns how many lines of a body its shapes do not have, or -1 for a
// body that the reference engine read.
func unknownLines(b *Body) int {
	if b.packed == nil {
		return -1
	}
	shapes, _ := b.packed.catalog.all()
	n := 0
	for _, v := range b.packed.visits {
		u := b.packed.unpack(shapes[v.shape], v.at)
		for l := (packedLine{}); u.line(&l); {
			if l.known < 0 && l.family >= 0 {
				n++
			}
		}
	}
	return n
}

// The first body of a family may be unusual.
func TestReaderLearnsWhatIsCommon(t *testing.T) {
	r := NewReader(32 << 20)
	bodies := 0
	read := func(lines ...string) int {
		bodies++
		labels := labelsOf(fmt.Sprintf("pod=%d", bodies))
		body, err := r.Read(strings.NewReader("# TYPE h histogram\n"+strings.Join(lines, "")+"# TYPE g gauge\ng 1\n"), Options{ContentType: textType, Labels: labels})
		if err != nil {
			t.Fatal(err)
		}
		return unknownLines(body)
	}
	common := []string{"h_sum{p=\"1\"} 1\n", "h_sum{p=\"2\"} 1\n", "h_sum{p=\"3\"} 1\n"}
	if n := read("h_sum{p=\"odd\"} 1\n"); n != 0 {
		t.Errorf("%d unknown lines in the body that the shape is learned from, want 0", n)
	}
	for i := range learningVisits {
		if n := read(append(common, fmt.Sprintf("h_sum{p=\"x%d\"} 1\n", i))...); n != 4 {
			t.Errorf("%d unknown lines while learning, want 4", n)
		}
	}
	if n := read(append(common, "h_sum{p=\"y\"} 1\n")...); n != 1 {
		t.Errorf("%d unknown lines after learning, want 1", n)
	}
	if n := read("h_count 1\n"); n != 1 {
		t.Errorf("%d unknown lines with another name of the family, want 1", n)
	}
	if n := read("foreign 1\n"); n != -1 {
		t.Errorf("%d unknown lines with an unknown name, want -1 (the reference engine)", n)
	}
	if n := read("foreign 2\n"); n != 0 {
		t.Errorf("%d unknown lines with a known name, want 0", n)
	}
}

// Shapes that no body has any more must not keep others out forever.
func TestReaderForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReader(10_000)
		isPacked := func(name string) bool {
			body, err := r.Read(strings.NewReader("# TYPE "+name+" gauge\n"+name+" 1\n"), Options{ContentType: textType})
			if err != nil {
				t.Fatal(err)
			}
			return unknownLines(body) == 0
		}
		for i := range 100 {
			isPacked(fmt.Sprintf("old_%d", i))
		}
		if isPacked("new") {
			t.Error("the limit has no effect")
		}
		if !isPacked("old_0") {
			t.Error("a shape was dropped before the catalog was replaced")
		}
		time.Sleep(renewal + time.Second)
		if !isPacked("new") {
			t.Error("the full catalog was not replaced")
		}
	})
}

// The last body of a target is kept if it deviates from its shapes, until the next one
// is read or it is too old. A next body that deviates in the same way needs no
// learning.
func TestReaderKeepsLastBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReader(32 << 20)
		read := func(pod, samples string) *Body {
			body, err := r.Read(strings.NewReader("# TYPE m gauge\n"+samples), Options{ContentType: textType, Labels: labelsOf("pod=" + pod)})
			if err != nil {
				t.Fatal(err)
			}
			return body
		}
		read("a", "m{x=\"1\"} 1\nm{x=\"2\"} 1\n").Release()
		if n := r.LastBodies(); n != 0 {
			t.Errorf("%d bytes are kept of a body that does not deviate", n)
		}
		read("b", "m{x=\"1\"} 1\nm{x=\"b\"} 1\n").Release()
		kept := r.LastBodies()
		if kept == 0 {
			t.Fatal("nothing is kept of a body that deviates")
		}
		learner := &r.catalogFor(text, Options{Labels: labelsOf("pod=")}).shapes[0].learner
		visits := learner.visits
		again := read("b", "m{x=\"1\"} 3\nm{x=\"b\"} 4\n")
		if r.LastBodies() != 0 || learner.visits != visits {
			t.Errorf("%d bytes are kept while the body is in use, %d visits with unknown lines, want 0 and %d", r.LastBodies(), learner.visits, visits)
		}
		again.Release()
		time.Sleep(keptAlong * 3 / 4)
		read("c", "m{x=\"c\"} 1\n").Release()
		if n := r.LastBodies(); n != 2*kept {
			t.Errorf("%d bytes are kept for two targets, want %d", n, 2*kept)
		}
		time.Sleep(keptAlong * 3 / 4)
		read("c", "m{x=\"c\"} 1\n").Release()
		if n := r.LastBodies(); n != kept {
			t.Errorf("%d bytes are kept after a target is gone, want %d", n, kept)
		}
		r.DropFree()
		if r.LastBodies() != 0 || r.KeptMemory() != 0 {
			t.Errorf("%d and %d bytes are kept after DropFree", r.LastBodies(), r.KeptMemory())
		}
	})
}

// A body may arrive in pieces of any size.
func TestReaderReadsPieces(t *testing.T) {
	for _, b := range bodies(t) {
		for name, format := range answers {
			r := NewReader(32 << 20)
			opts := Options{Format: format, ContentType: b.contentType}
			for range 2 {
				want, err := Read(strings.NewReader(b.text), opts)
				got, ourErr := r.Read(iotest.OneByteReader(strings.NewReader(b.text)), opts)
				if fmt.Sprint(err) != fmt.Sprint(ourErr) {
					t.Fatalf("%s for %s: %v, want %v", b.name, name, ourErr, err)
				}
				if err != nil {
					continue
				}
				if a, b := write(t, Merge(format, []Part{{Body: want}})), write(t, Merge(format, []Part{{Body: got}})); a != b {
					t.Fatalf("%s\nwant\n%s", b, a)
				}
			}
		}
	}
}
