package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
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
	size := 0
	for i := range l.labels {
		a := &l.labels[i]
		if isEscaped && !isBareLabel(a.name) {
			a.name = p.escapeLabel(a.name)
		}
		if size += len(a.name); size > maxLine {
			return 0, errLongLine
		}
		if p.opts.Labels.has(a.name) || taken[string(a.name)] {
			renamed = append(renamed, a)
		} else {
			taken[string(a.name)] = true
		}
	}
	slices.SortStableFunc(renamed, func(a, b *pair) int { return len(a.name) - len(b.name) })
	prefixes := map[string]int{} // by name without them: how many the last one has that was renamed
	for _, r := range renamed {
		base := string(r.name)
		n := 1
		for strings.HasPrefix(base, exportedPrefix) {
			base = base[len(exportedPrefix):]
			n++
		}
		n = max(n, prefixes[base]+1) // those with fewer are taken
		name := strings.Repeat(exportedPrefix, n) + base
		for taken[name] || p.opts.Labels.has([]byte(name)) {
			name = exportedPrefix + name
			n++
		}
		if size += len(name); size > maxLine {
			return 0, errLongLine
		}
		taken[name], prefixes[base] = true, n
		r.name = []byte(name)
	}
	return len(renamed), nil
}

// exportedPrefix is what Prometheus puts before the name of an exposed label that a label of
// the target has.
const exportedPrefix = "exported_"

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
// the same labels in any order. Series are compared by two independent hashes of 64 bits,
// because to compare them themselves would cost their length for each duplicate.
type seriesSet struct {
	hasher
	check hasher
	seen  map[uint64]uint64 // from the hash to that of check
}

func newSeriesSet() seriesSet {
	return seriesSet{hasher{maphash.MakeSeed()}, hasher{maphash.MakeSeed()}, make(map[uint64]uint64)}
}

// add adds the series of a line with its timestamp. It returns false if it is already
// there.
func (set *seriesSet) add(l *line, under metricType) bool {
	h, check := set.hash(l, under), set.check.hash(l, under)
	first, ok := set.seen[h]
	if !ok {
		set.seen[h] = check
	}
	return !ok || first != check
}

// hasher hashes series.
type hasher struct{ seed maphash.Seed }

// hash returns a hash of a series and its timestamp.
func (h hasher) hash(l *line, under metricType) uint64 {
	sum := h.identity(l, under)
	if len(l.timestamp) > 0 {
		sum += 37 * maphash.Comparable(h.seed, l.millis)
	}
	return sum
}

// identity returns a hash of a series. It does not depend on the order of the labels.
func (h hasher) identity(l *line, under metricType) uint64 {
	sum := maphash.Bytes(h.seed, l.name)
	for _, p := range l.labels {
		sum += h.labelHash(p, under)
	}
	return sum
}

// labelHash returns a hash of name="value, without the closing quote. The value is
// unescaped, and a canonical float where the TYPE requires it. It is 0 for an empty
// value.
func (h hasher) labelHash(p pair, under metricType) uint64 {
	if len(p.value) == 0 {
		return 0
	}
	var hash maphash.Hash
	hash.SetSeed(h.seed)
	_, _ = hash.Write(p.name)
	_, _ = hash.WriteString(`="`)
	switch {
	case string(p.name) == under.floatLabel():
		_, _ = hash.WriteString(canonicalFloat(unescape(p.value)))
	case bytes.IndexByte(p.value, '\\') >= 0:
		_, _ = hash.WriteString(unescape(p.value))
	default:
		_, _ = hash.Write(p.value)
	}
	return hash.Sum64()
}

// hashOf is labelHash for the text of a label that has no escapes and is not a float.
func (h hasher) hashOf(label []byte) uint64 { return maphash.Bytes(h.seed, label) }

// metricHash is equal for the samples of one metric of a family: those with the same
// labels, except for le, quantile, or the state of a stateset, whose label has the name
// of the family.
func (h hasher) metricHash(l *line, typ metricType, family string) uint64 {
	sum := uint64(0)
	for _, p := range l.labels {
		if !isPart(string(p.name), typ, family) {
			sum += h.labelHash(p, untyped)
		}
	}
	return sum
}

// isPart reports whether a label distinguishes the samples of one metric.
func isPart(label string, typ metricType, family string) bool {
	return label == typ.floatLabel() || typ == gaugeHistogram && label == "le" || typ == stateset && label == family
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
