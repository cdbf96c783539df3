package exposition

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
)

// familyOf returns the index of the output family that the line belongs to, and
// converts the name of the line to the form that the output can carry. Within its body,
// a sample belongs to the family of the TYPE in effect if its name fits, otherwise to
// the family of its own name. Prometheus works in the same way: the type that it
// stores, and the buckets that it converts, follow the last TYPE.
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

// memberFamily returns the index of the family of a sample of the current declaration.
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

// placeOf returns the name and type of the output family for a sample under a TYPE.
// What text output cannot represent becomes the closest thing that it can: info and
// stateset become gauges, _created a gauge of its own, the samples of a gaugehistogram
// untyped. The family of a counter has the name of its samples. OpenMetrics has no
// counter without _total, so it is untyped there.
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

// declareFamilies gives families without a declaration what the body declares for their
// name, even after their samples. It completes the other declarations (see inherit).
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
// OpenMetrics requires. The order is that of the first samples of the metrics. In most
// bodies they already are together.
func (p *parser) groupMetrics() error {
	var order, ranks, starts []int32
	for i := range p.body.families {
		f := &p.body.families[i]
		began := map[uint64]int32{} // from a metric to its rank
		order, ranks, starts = order[:0], ranks[:0], starts[:0]
		isGrouped, last := true, int32(-1)
		for s := f.first; s >= 0; s = p.body.samples[s].next {
			if p.checked++; p.checked%doneEvery == 0 && isDone(p.opts.Done) {
				return context.Canceled
			}
			rank, ok := began[p.metrics[s]]
			if !ok {
				rank = int32(len(began))
				began[p.metrics[s]] = rank
				starts = append(starts, 0)
			}
			isGrouped = isGrouped && rank >= last
			last = rank
			order, ranks = append(order, s), append(ranks, rank)
			starts[rank]++ // counts its samples
		}
		if !isGrouped {
			p.body.relink(f, sortedByRank(order, ranks, starts))
		}
	}
	return nil
}

// sortedByRank sorts samples by their ranks, of which starts has the numbers of samples.
func sortedByRank(samples, ranks, starts []int32) []int32 {
	sum := int32(0)
	for rank, n := range starts {
		starts[rank] = sum
		sum += n
	}
	sorted := make([]int32, len(samples))
	for i, rank := range ranks {
		sorted[starts[rank]] = samples[i]
		starts[rank]++
	}
	return sorted
}

// relink puts the samples of a family into another order.
func (b *Body) relink(f *family, order []int32) {
	f.first, f.last = order[0], order[len(order)-1]
	for i, s := range order {
		b.samples[s].next = -1
		if i+1 < len(order) {
			b.samples[s].next = order[i+1]
		}
	}
}
