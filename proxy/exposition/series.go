package exposition

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
)

// resolveLabels checks that the line's label names are distinct, and gives way to
// the target's labels by Prometheus's own rule (scrape.go
// resolveConflictingExposedLabels): an exposed label of an injected name becomes
// exported_<name>, the prefix repeated until the name is free, shorter names
// first. A label with an empty value counts as absent. A line that it changes is
// no longer canonical.
func (p *parser) resolveLabels() error {
	l := &p.line
	if name := repeatedName(l.labels); name != nil {
		return fmt.Errorf("label %s stands twice", name)
	}
	isInjected := func(a pair) bool { return p.opts.Labels.has(a.name) }
	if !slices.ContainsFunc(l.labels, isInjected) {
		return nil
	}
	l.canonical = false
	l.labels = slices.DeleteFunc(l.labels, func(a pair) bool { return len(a.value) == 0 })
	var renamed []*pair
	for i := range l.labels {
		if isInjected(l.labels[i]) {
			renamed = append(renamed, &l.labels[i])
		}
	}
	slices.SortStableFunc(renamed, func(a, b *pair) int { return len(a.name) - len(b.name) })
	for _, r := range renamed {
		name := append([]byte("exported_"), r.name...)
		for p.isTaken(name) {
			name = append([]byte("exported_"), name...)
		}
		r.name = name
	}
	p.body.conflicts.Labels += len(renamed)
	return nil
}

// repeatedName returns a name that two labels with a value share, or nil.
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

func (p *parser) isTaken(name []byte) bool {
	return p.opts.Labels.has(name) || slices.ContainsFunc(p.line.labels, func(a pair) bool { return bytes.Equal(a.name, name) })
}

// seriesSet holds the series of one body, each with its timestamp: two equal ones
// are a duplicate, of which Prometheus keeps the first. Equal means the same name
// and the same labels in any order.
type seriesSet struct {
	seed   maphash.Seed
	byHash map[uint64]int32 // index into Body.samples
}

func newSeriesSet() seriesSet {
	return seriesSet{seed: maphash.MakeSeed(), byHash: make(map[uint64]int32)}
}

// add adds s, whose line is l, as the next sample of b. It returns false if the
// series is there already. Of two series whose 64-bit hashes collide the second
// is not looked for again: at worst Prometheus drops a duplicate itself.
func (set *seriesSet) add(b *Body, s *sample, l *line) bool {
	h := set.hash(l, s.under)
	i, ok := set.byHash[h]
	if !ok {
		set.byHash[h] = int32(len(b.samples))
		return true
	}
	first := &b.samples[i]
	return seriesKey(b.text(first), first.under) != seriesKey(b.text(s), s.under)
}

// hash does not depend on the order of the labels.
func (set *seriesSet) hash(l *line, under metricType) uint64 {
	h := maphash.Bytes(set.seed, l.name)
	floatLabel := under.floatLabel()
	for _, p := range l.labels {
		if len(p.value) == 0 {
			continue
		}
		var value uint64
		switch {
		case floatLabel != "" && string(p.name) == floatLabel:
			value = maphash.String(set.seed, canonicalFloat(unescape(p.value)))
		case bytes.IndexByte(p.value, '\\') >= 0:
			value = maphash.String(set.seed, unescape(p.value))
		default:
			value = maphash.Bytes(set.seed, p.value)
		}
		h += 31*maphash.Bytes(set.seed, p.name) ^ value
	}
	if len(l.timestamp) > 0 {
		h += 37 * maphash.Bytes(set.seed, bytes.TrimLeft(l.timestamp, "0"))
	}
	return h
}

// seriesKey is equal for lines of the same series and timestamp. text must be a
// canonical line.
func seriesKey(text []byte, under metricType) string {
	l := mustScan(text)
	var labels []string
	for _, p := range l.labels {
		if len(p.value) == 0 {
			continue
		}
		name, value := string(p.name), unescape(p.value)
		if name == under.floatLabel() {
			value = canonicalFloat(value)
		}
		labels = append(labels, strconv.Quote(name)+"="+strconv.Quote(value))
	}
	slices.Sort(labels)
	timestamp := ""
	if len(l.timestamp) > 0 {
		timestamp = "@" + string(bytes.TrimLeft(l.timestamp, "0"))
	}
	return strconv.Quote(string(l.name)) + "{" + strings.Join(labels, ",") + "}" + timestamp
}

// mustScan takes a canonical line apart. Read has checked it.
func mustScan(text []byte) *line {
	s := scanner{text: text, valid: true}
	var l line
	if err := s.sample(&l); err != nil {
		panic(fmt.Sprintf("exposition: line %q was accepted and is refused now: %v", text, err))
	}
	return &l
}
