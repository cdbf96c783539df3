package exposition

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
)

// familyOf returns the family of the answer that the line belongs to, and gives the
// name in it the form that the answer can carry. The sample's family in its own
// body is that of the TYPE in force if its name fits, else the one of its own name.
// Prometheus sees it in the same way: the type that it stores, and the buckets that
// it converts, follow the last TYPE.
func (p *parser) familyOf() (int32, error) {
	l := &p.line
	if p.current != nil {
		if suffix, ok := bytes.CutPrefix(l.name, []byte(p.current.name)); ok {
			if p.isMember(string(suffix)) {
				return p.memberFamily(string(suffix))
			}
		}
	}
	if escaped := p.escapeName(l.name); !bytes.Equal(escaped, l.name) {
		l.name, l.canonical = escaped, false
	}
	return p.family(string(l.name))
}

func (p *parser) isMember(suffix string) bool {
	if suffix == "" {
		return true
	}
	for _, s := range p.current.typ.suffixes(p.in) {
		if suffix == s {
			return true
		}
	}
	return false
}

// memberFamily is the family of a sample of the current declaration.
func (p *parser) memberFamily(suffix string) (int32, error) {
	d := p.current
	if d.written != d.name {
		p.line.name, p.line.canonical = []byte(d.written+suffix), false
	}
	name, typ := placeOf(p.opts.Format.syntax, d.typ, d.written, suffix)
	f, err := p.family(name)
	if err != nil {
		return 0, err
	}
	p.body.families[f].typ, p.body.families[f].declared = typ, d
	return f, nil
}

// placeOf says what family of an answer a sample belongs to that stands under a TYPE
// of that kind. What an answer in text cannot say becomes what it can: info and
// stateset become gauges, _created a gauge of its own, a gaugehistogram's samples
// untyped. A counter's family is named after its samples; a counter without _total,
// which OpenMetrics does not know, is untyped there.
func placeOf(out syntax, typ metricType, base, suffix string) (string, metricType) {
	switch {
	case typ == counter && suffix == "" && strings.HasSuffix(base, "_total"):
		return base, counter
	case typ == counter && suffix == "" && out == openMetrics:
		return base, untyped
	case typ == counter && (suffix == "_total" || suffix == "_created" && out == openMetrics):
		return base + "_total", counter
	case out == text && (suffix == "_created" || typ == info || typ == stateset):
		return base + suffix, gauge
	case out == text && typ == gaugeHistogram:
		return base + suffix, untyped
	}
	return base, typ
}

// declareFamilies gives families without a type what the body declares of their
// name, which can stand after their samples.
func (p *parser) declareFamilies() {
	byEscaped := make(map[string]*declaration, len(p.declared))
	for _, name := range slices.Sorted(maps.Keys(p.declared)) {
		byEscaped[p.declared[name].written] = p.declared[name]
	}
	for i := range p.body.families {
		f := &p.body.families[i]
		if f.declared != nil {
			f.declared.inherit()
		} else if d := byEscaped[f.name]; d != nil {
			if name, typ := placeOf(p.opts.Format.syntax, d.typ, f.name, ""); name == f.name {
				f.declared, f.typ = d, typ
			}
		}
	}
}

// groupMetrics brings the samples of each metric together within their family, as
// OpenMetrics wants them, in the order in which the metrics begin. Most bodies have
// them so.
func (p *parser) groupMetrics() {
	for i := range p.body.families {
		f := &p.body.families[i]
		began := map[uint64]int{} // metric to its rank
		var order []int32
		isGrouped, last := true, -1
		for s := f.first; s >= 0; s = p.body.samples[s].next {
			rank, ok := began[p.metrics[s]]
			if !ok {
				rank = len(began)
				began[p.metrics[s]] = rank
			}
			isGrouped = isGrouped && rank >= last
			last = rank
			order = append(order, s)
		}
		if isGrouped {
			continue
		}
		slices.SortStableFunc(order, func(a, b int32) int {
			return cmp.Compare(began[p.metrics[a]], began[p.metrics[b]])
		})
		p.body.relink(f, order)
	}
}

// relink gives the samples of a family another order.
func (b *Body) relink(f *family, order []int32) {
	f.first, f.last = order[0], order[len(order)-1]
	for i, s := range order {
		b.samples[s].next = -1
		if i+1 < len(order) {
			b.samples[s].next = order[i+1]
		}
	}
}
