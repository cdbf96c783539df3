package exposition

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// maxReplaced is how many label values may differ in a variant.
const maxReplaced = 15

// replaced is a label value of a line that replaces the one in the shape's line.
type replaced struct {
	place      labelPlace // in the shape's line
	start, end int        // of the value, in the text
}

// takeVariant takes the line that comes next if it is line i of the shape with other
// label values. It returns false if it is not, or if takeOther must decide.
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
	if known, ok := s.withIdentity(id); ok {
		if !bytes.Equal(s.prefix(known), prefix) {
			return false, nil
		}
		return true, p.takeKnown(known, p.pos+length)
	}
	if p.extras.has(id) || p.isExcessive() {
		return false, nil
	}
	raw, out, err := p.tail(p.pos + length)
	if err != nil {
		return false, nil
	}
	p.noteUnknown(id, metric, prefix)
	p.ops.variant(i, p.replaced, p.text)
	p.expected = i + 1
	p.ops.tail(raw, out)
	p.body.series++
	p.pos += length + len(raw)
	return true, nil
}

// candidates returns lines of the shape, or -1, of which the line that comes next may
// be a variant. The first one ends as that line does, because variants of a line differ
// before its end. The second one has the same name.
func (p *packer) candidates() [2]int {
	text, next := p.text[p.pos:], p.expected
	found := [2]int{-1, -1}
	for i := max(next-1, 0); i < min(next+lookAhead, len(p.shape.lines)); i++ {
		l := &p.shape.lines[i]
		if l.values != nil && bytes.HasPrefix(text, p.shape.text[l.start:l.insert]) {
			found[1] = i
			break
		}
	}
	text = text[:bytes.IndexByte(text, '\n')]
	end := bytes.LastIndexByte(text, ' ') + 1
	if found[1] < 0 || end < 8 {
		return found
	}
	last := binary.LittleEndian.Uint64(text[end-8:])
	for i := found[1]; i < min(next+lookAhead, len(p.shape.lines)); i++ {
		if prefix := p.shape.prefix(i); len(prefix) >= 8 && binary.LittleEndian.Uint64(prefix[len(prefix)-8:]) == last {
			found[0] = i
			break
		}
	}
	return found
}

// matchVariant compares the line that comes next with line i of the shape, stores the
// values that differ in p.replaced, and returns the length up to the tail. It returns 0
// if other parts differ.
func (p *packer) matchVariant(i int) int {
	text, values, prefix := p.text[p.pos:], p.shape.lines[i].values, p.shape.prefix(i)
	p.replaced = p.replaced[:0]
	from, at := 0, 0 // what is compared next, in prefix and text
	for {
		same := commonLength(prefix[from:], text[at:])
		from, at = from+same, at+same
		if from == len(prefix) {
			return at
		}
		for len(values) > 0 && int(values[0].end) < from {
			values = values[1:]
		}
		if len(values) == 0 || from < int(values[0].start) || len(p.replaced) == maxReplaced {
			return 0
		}
		v := values[0]
		start := at - (from - int(v.start))
		length := bytes.IndexByte(text[start:], '"')
		if length < 0 || !isPlainValue(text[start:start+length]) {
			return 0
		}
		p.replaced = append(p.replaced, replaced{v, p.pos + start, p.pos + start + length})
		from, at = int(v.end), start+length
	}
}

// commonLength returns the length of the common prefix of two texts.
func commonLength(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if d := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); d != 0 {
			return i + bits.TrailingZeros64(d)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// isPlainValue reports whether a label value has no escapes and no line feeds, and is
// valid UTF-8.
func isPlainValue(value []byte) bool {
	isASCII := true
	for _, c := range value {
		if c == '\\' || c == '\n' {
			return false
		}
		isASCII = isASCII && c < utf8.RuneSelf
	}
	return isASCII || utf8.Valid(value)
}

// identify returns what hasher.identity and metricHash would return for a line with
// the values of p.replaced.
func (p *packer) identify(line *shapeLine) (id, metric uint64) {
	id, metric = line.identity, line.metricHash
	prefix := p.shape.text[line.start:line.end]
	float, family := p.typ().floatLabel(), p.shape.families[line.family].name
	for _, r := range p.replaced {
		v := r.place
		name := prefix[v.name : v.start-2]
		change := -v.hash
		switch {
		case string(name) == float:
			change += p.series.labelHash(pair{name, p.text[r.start:r.end]}, p.typ())
		case r.end > r.start:
			change += p.series.hashOf(p.text[r.start-int(v.start-v.name) : r.end])
		}
		id += change
		if p.shape.hasParts && !isPart(string(name), p.typ(), family) {
			metric += change
		}
	}
	return id, metric
}
