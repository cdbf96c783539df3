package exposition

import (
	"fmt"
	"slices"

	"github.com/prometheus/common/model"
)

// sample adds the sample line in p.line to the body, or counts a conflict if the sample
// has to be dropped.
func (p *parser) sample() error {
	p.open = nil
	if err := p.expose(1); err != nil {
		return err
	}
	if p.opts.Format.syntax == protobuf {
		return p.addLineAsProtobuf()
	}
	l := &p.line
	l.exposed = l.name
	f, err := p.familyOf()
	if err != nil {
		return err
	}
	p.lastFamily = f
	family := p.body.families[f].name
	if err := p.giveWay(family); err != nil {
		return err
	}
	if isUp(l) {
		return p.conflict(UpConflict, upName, 1)
	}
	if !l.fit(p.in, p.opts.Format.syntax) {
		return p.conflict(TimestampConflict, family, 1)
	}
	s := sample{start: uint32(l.start), insert: uint32(l.insert), end: uint32(l.end), next: -1, under: p.typ()}
	if !p.series.add(l, s.under) {
		return p.conflict(DuplicateConflict, family, 1)
	}
	if !l.canonical {
		start := len(p.body.rewritten)
		if err := p.roomFor(l.maxSize()); err != nil {
			return err
		}
		text, insert := l.appendTo(p.body.rewritten)
		if len(text)-start > maxLine {
			return errLongLine
		}
		p.body.rewritten = text
		s.start, s.insert, s.end = uint32(start), uint32(insert), uint32(len(text))
		s.isRewritten = true
	}
	if err := p.add(f, s, len(l.name) != len(family)); err != nil {
		return err
	}
	p.body.series++
	if p.opts.Format.syntax == openMetrics {
		p.metrics = append(p.metrics, p.series.metricHash(l, p.typ(), family))
	}
	return nil
}

// giveWay resolves the labels of the line in p.line, and counts the conflicts for the
// family.
func (p *parser) giveWay(family string) error {
	exported, err := p.resolveLabels()
	if err != nil || exported == 0 {
		return err
	}
	p.exported += exported
	return p.conflict(LabelConflict, family, exported)
}

// conflict counts conflicts of a family.
func (p *parser) conflict(kind ConflictKind, family string, n int) error {
	c := conflict{kind, family}
	before := p.body.conflicts[c]
	p.body.conflicts[c] = before + n
	if before > 0 {
		return nil
	}
	return p.keep(conflictSize)
}

// expose counts series that the body exposes, including duplicates, and enforces
// MaxSamples.
func (p *parser) expose(series int) error {
	if p.exposed += series; p.opts.MaxSamples > 0 && p.exposed > p.opts.MaxSamples {
		return fmt.Errorf("%w: more than SAMPLE_LIMIT=%d", ErrTooManySamples, p.opts.MaxSamples)
	}
	return nil
}

// isUp reports whether the line is the target's own up{}. The proxy writes this series
// itself.
func isUp(l *line) bool {
	return string(l.name) == upName && !l.hasLabels()
}

// hasLabels reports whether the line has labels. A label with an empty value counts as absent.
func (l *line) hasLabels() bool {
	return slices.ContainsFunc(l.labels, func(a pair) bool { return len(a.value) > 0 })
}

// roomFor makes room for a text in Body.rewritten.
func (p *parser) roomFor(size int) (err error) {
	if p.opts.MaxText > 0 && len(p.body.rewritten)+size > p.opts.MaxText {
		return textError(p.opts.MaxText)
	}
	p.body.rewritten, err = room(&p.budget, p.body.rewritten, size)
	return err
}

// add appends a sample to the body and to its family f.
func (p *parser) add(f int32, s sample, isSuffixed bool) (err error) {
	b := p.body
	if b.samples, err = room(&p.budget, b.samples, 1); err != nil {
		return err
	}
	fam := &b.families[f]
	i := int32(len(b.samples))
	b.samples = append(b.samples, s)
	if fam.first < 0 {
		fam.first = i
	} else {
		b.samples[fam.last].next = i
	}
	fam.last = i
	fam.under = fam.under.with(s.under)
	fam.hasSuffixed = fam.hasSuffixed || isSuffixed
	return nil
}

// family returns the index of the family with that key, and adds the family if it is
// new. In text and OpenMetrics, the key is the name.
func (p *parser) family(key string) (int32, error) {
	if f, ok := p.byName[key]; ok {
		return f, nil
	}
	f := int32(len(p.body.families))
	if f == maxFamilies {
		return 0, fmt.Errorf("%w: more than %d families", ErrTooManySamples, maxFamilies)
	}
	var err error
	if p.body.families, err = room(&p.budget, p.body.families, 1); err != nil {
		return 0, err
	}
	p.body.families = append(p.body.families, family{name: key, first: -1, last: -1})
	p.byName[key] = f
	return f, p.keep(int64(len(key)))
}

// escapeName escapes a name for the output. A name that is valid without quotes is
// returned unchanged.
func (p *parser) escapeName(name []byte) []byte {
	if p.opts.Format.escaping == model.NoEscaping || isBareMetric(name) {
		return name
	}
	return []byte(model.EscapeName(string(name), p.opts.Format.escaping))
}
