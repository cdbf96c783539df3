package exposition

import (
	"bytes"
	"unicode/utf8"
)

// maxReplaced is how many values of labels may differ in a variant.
const maxReplaced = 15

// replaced is a label value of a line that stands in place of the one of the shape's
// line.
type replaced struct {
	label int // of the line
	value []byte
}

// takeVariant takes a line that has another one's layout and other label values. It
// returns false if the line that comes is none of line i, or if there is anything
// about it that takeOther must decide.
func (p *packer) takeVariant(i int) (bool, error) {
	s := p.shape
	if i < 0 || i >= len(s.lines) || s.lines[i].values == nil {
		return false, nil
	}
	length := p.matchVariant(i)
	if length == 0 || len(p.replaced) == 0 {
		return false, nil
	}
	id, metric := p.identify(&s.lines[i])
	prefix := p.text[p.pos : p.pos+length]
	if known, ok := s.bySeries[id]; ok {
		if !bytes.Equal(s.prefix(int(known)), prefix) {
			return false, nil
		}
		return true, p.takeKnown(int(known), p.pos+length)
	}
	if _, ok := p.extras[id]; ok {
		return false, nil
	}
	raw, out, err := p.tail(p.pos + length)
	if err != nil {
		return false, nil
	}
	p.noteUnknown(id, metric, prefix)
	p.ops.variant(i, p.replaced)
	p.ops.tail(raw, out)
	p.body.series++
	p.pos += length + len(raw)
	return true, nil
}

// matchVariant compares the line that comes with one of the shape, notes the values
// that differ, and returns the length up to the tail, or 0.
func (p *packer) matchVariant(i int) int {
	text, line, prefix := p.text[p.pos:], &p.shape.lines[i], p.shape.prefix(i)
	p.replaced = p.replaced[:0]
	from, at := 0, 0 // in prefix and text
	for label, v := range line.values {
		start, end := int(v.start), int(v.end)
		between := prefix[from:start]
		if !bytes.HasPrefix(text[at:], between) {
			return 0
		}
		at += len(between)
		from = end
		if old := prefix[start : end+1]; bytes.HasPrefix(text[at:], old) { // with the quote
			at += end - start
			continue
		}
		length := bytes.IndexByte(text[at:], '"')
		if length <= 0 || len(p.replaced) == maxReplaced {
			return 0
		}
		value := text[at : at+length]
		for _, c := range value {
			if c == '\\' || c == '\n' {
				return 0
			}
		}
		if !utf8.Valid(value) {
			return 0
		}
		p.replaced = append(p.replaced, replaced{label, value})
		at += length
	}
	if !bytes.HasPrefix(text[at:], prefix[from:]) {
		return 0
	}
	return at + len(prefix) - from
}

// identify returns what seriesSet.identity and metricHash would, for a line with the
// values of p.replaced.
func (p *packer) identify(line *shapeLine) (id, metric uint64) {
	id, metric = line.identity, line.metricHash
	prefix := p.shape.text[line.start:line.end]
	for _, r := range p.replaced {
		v := line.values[r.label]
		old := pair{prefix[v.name : v.start-2], prefix[v.start:v.end]}
		now := pair{old.name, r.value}
		id += p.series.labelHash(now, p.typ()) - p.series.labelHash(old, p.typ())
		if p.shape.hasParts && !isPart(string(old.name), p.typ(), p.shape.families[line.family].name) {
			metric += p.series.labelHash(now, untyped) - p.series.labelHash(old, untyped)
		}
	}
	return id, metric
}
