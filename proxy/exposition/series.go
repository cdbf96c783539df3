package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
)

// resolveLabels checks that the label names of the line are distinct, and converts them
// to the form that the output can carry. It resolves conflicts with the target's labels
// by Prometheus's own rule (scrape.go resolveConflictingExposedLabels): an exposed
// label with the name of a target label becomes exported_<name>. The prefix is repeated
// until the name is free, shorter names first. The second of two names that are equal
// after escaping is renamed in the same way. A label with an empty value counts as
// absent. A line that is changed is no longer canonical. resolveLabels returns how many
// labels were renamed.
func (p *parser) resolveLabels() (exported int, err error) {
	l := &p.line
	if err := l.checkLabels(); err != nil {
		return 0, err
	}
	isEscaped := p.opts.Format.escaping != model.NoEscaping
	needsWork := func(a pair) bool { return p.opts.Labels.has(a.name) || isEscaped && !isBareLabel(a.name) }
	if !slices.ContainsFunc(l.labels, needsWork) {
		return 0, nil
	}
	l.canonical = false
	l.labels = slices.DeleteFunc(l.labels, func(a pair) bool { return len(a.value) == 0 })
	taken := make(map[string]bool, len(l.labels))
	var renamed []*pair
	for i := range l.labels {
		a := &l.labels[i]
		if isEscaped && !isBareLabel(a.name) {
			a.name = p.escapeLabel(a.name)
		}
		if p.opts.Labels.has(a.name) || taken[string(a.name)] {
			renamed = append(renamed, a)
		} else {
			taken[string(a.name)] = true
		}
	}
	slices.SortStableFunc(renamed, func(a, b *pair) int { return len(a.name) - len(b.name) })
	for _, r := range renamed {
		name := "exported_" + string(r.name)
		for taken[name] || p.opts.Labels.has([]byte(name)) {
			name = "exported_" + name
		}
		taken[name] = true
		r.name = []byte(name)
	}
	return len(renamed), nil
}

// checkLabels checks that the label names are distinct, and that none is __name__.
func (l *line) checkLabels() error {
	if name := repeatedName(l.labels); name != nil {
		return fmt.Errorf("duplicate label %.80s", name)
	}
	if slices.ContainsFunc(l.labels, func(a pair) bool { return string(a.name) == "__name__" }) {
		return errors.New("label __name__ is not allowed")
	}
	return nil
}

// escapeLabel is escapeName for a label name, which must not contain colons either.
func (p *parser) escapeLabel(name []byte) []byte {
	return bytes.ReplaceAll(p.escapeName(name), []byte(":"), []byte("_"))
}

// repeatedName returns a name that two labels with non-empty values share, or nil.
func repeatedName(labels []pair) []byte {
	if len(labels) > 16 {
		seen := make(map[string]bool, len(labels))
		for _, a := range labels {
			if len(a.value) > 0 && seen[string(a.name)] {
				return a.name
			}
			seen[string(a.name)] = seen[string(a.name)] || len(a.value) > 0
		}
		return nil
	}
	for i, a := range labels {
		for _, b := range labels[:i] {
			if bytes.Equal(a.name, b.name) && len(a.value) > 0 && len(b.value) > 0 {
				return a.name
			}
		}
	}
	return nil
}

// seriesSet holds the series of one body, each with its timestamp. Of equal ones,
// Prometheus keeps the first; the others are duplicates. Equal means the same name and
// the same labels in any order.
type seriesSet struct {
	seed   maphash.Seed
	byHash map[uint64]place
}

// place locates a sample: indexes into Body.samples and Body.families.
type place struct{ sample, family int32 }

func newSeriesSet() seriesSet {
	return seriesSet{seed: maphash.MakeSeed(), byHash: make(map[uint64]place)}
}

// add adds s of family f, whose line is l, as the next sample of b. It returns false if
// the series is already there. If the 64-bit hashes of two series collide, duplicates
// of the second one are not found; Prometheus then drops them itself.
func (set *seriesSet) add(b *Body, f int32, s *sample, l *line) bool {
	h := set.hash(l, s.under)
	first, ok := set.byHash[h]
	if !ok {
		set.byHash[h] = place{sample: int32(len(b.samples)), family: f}
		return true
	}
	if f == first.family && bytes.Equal(b.text(&b.samples[first.sample]), b.text(s)) {
		return false
	}
	return b.seriesKey(first.family, &b.samples[first.sample]) != b.seriesKey(f, s)
}

// hash returns a hash of a series and its timestamp.
func (set *seriesSet) hash(l *line, under metricType) uint64 {
	h := set.identity(l, under)
	if len(l.timestamp) > 0 {
		h += 37 * maphash.Comparable(set.seed, l.millis)
	}
	return h
}

// identity returns a hash of a series. It does not depend on the order of the labels.
func (set *seriesSet) identity(l *line, under metricType) uint64 {
	h := maphash.Bytes(set.seed, l.name)
	for _, p := range l.labels {
		h += set.labelHash(p, under)
	}
	return h
}

// labelHash returns a hash of name="value, without the closing quote. The value is
// unescaped, and a canonical float where the TYPE requires it. It is 0 for an empty
// value.
func (set *seriesSet) labelHash(p pair, under metricType) uint64 {
	if len(p.value) == 0 {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(set.seed)
	_, _ = h.Write(p.name)
	_, _ = h.WriteString(`="`)
	switch {
	case string(p.name) == under.floatLabel():
		_, _ = h.WriteString(canonicalFloat(unescape(p.value)))
	case bytes.IndexByte(p.value, '\\') >= 0:
		_, _ = h.WriteString(unescape(p.value))
	default:
		_, _ = h.Write(p.value)
	}
	return h.Sum64()
}

// hashOf is labelHash for the text of a label that has no escapes and is not a float.
func (set *seriesSet) hashOf(label []byte) uint64 { return maphash.Bytes(set.seed, label) }

// metricHash is equal for the samples of one metric of a family: those with the same
// labels, except for le, quantile, or the state of a stateset, whose label has the name
// of the family.
func (set *seriesSet) metricHash(l *line, typ metricType, family string) uint64 {
	h := uint64(0)
	for _, p := range l.labels {
		if !isPart(string(p.name), typ, family) {
			h += set.labelHash(p, untyped)
		}
	}
	return h
}

// isPart reports whether a label distinguishes the samples of one metric.
func isPart(label string, typ metricType, family string) bool {
	return label == typ.floatLabel() || typ == gaugeHistogram && label == "le" || typ == stateset && label == family
}

// seriesKey is equal for samples of the same series and timestamp. f is the index of
// the family.
func (b *Body) seriesKey(f int32, s *sample) string {
	l := b.lineOf(f, s)
	var labels []string
	for _, p := range l.labels {
		if len(p.value) == 0 {
			continue
		}
		name, value := string(p.name), unescape(p.value)
		if name == s.under.floatLabel() {
			value = canonicalFloat(value)
		}
		labels = append(labels, strconv.Quote(name)+"="+strconv.Quote(value))
	}
	slices.Sort(labels)
	timestamp := ""
	if len(l.timestamp) > 0 {
		timestamp = fmt.Sprintf("@%d", l.millis)
	}
	return strconv.Quote(string(l.name)) + "{" + strings.Join(labels, ",") + "}" + timestamp
}

// lineOf parses a sample of the body again.
func (b *Body) lineOf(f int32, s *sample) *line {
	if b.format.syntax != protobuf {
		return mustScan(b.format.syntax, b.text(s))
	}
	var m dto.Metric
	if err := proto.Unmarshal(b.text(s), &m); err != nil {
		panic(fmt.Sprintf("exposition: a Metric was accepted and is refused now: %v", err))
	}
	l := &line{name: seriesName(b.families[f].name, b.families[f].typ), millis: m.GetTimestampMs()}
	for _, pair := range m.GetLabel() {
		l.labels = append(l.labels, pairOf(pair))
	}
	if l.millis != 0 {
		l.timestamp = []byte("0")
	}
	return l
}

// mustScan parses a canonical line, which Read has checked. It panics on an error.
func mustScan(in syntax, text []byte) *line {
	s := scanner{text: append(slices.Clip(text), '\n'), valid: true}
	var l line
	scan := s.textSample
	if in == openMetrics {
		scan = s.omSample
	}
	if err := scan(&l); err != nil {
		panic(fmt.Sprintf("exposition: line %q was accepted and is refused now: %v", text, err))
	}
	return &l
}
