package exposition

import (
	"cmp"
	"slices"
)

// groupedLine is a line of the visit, and which metric it is of.
type groupedLine struct {
	packedLine
	metric metricKey
	rank   int // of the metric: how many metrics began before it
}

// metricKey tells the metrics of a shape's families apart.
type metricKey struct {
	family int32
	hash   uint64
}

// group brings the samples of each metric together, as parser.groupMetrics does.
// Most bodies have them so.
func (p *packer) group() {
	if len(p.parts) == 0 && len(p.seen) == 0 && p.shape.isGrouped {
		return
	}
	p.lines = p.lines[:0]
	u := unpacker{shape: p.shape, ops: p.ops.buf[p.start:]}
	extras := p.parts
	for l := (groupedLine{}); u.line(&l.packedLine); {
		l.metric = metricKey{family: l.family}
		switch {
		case l.known >= 0:
			l.metric = p.shape.lines[l.known].metric()
		case l.family >= 0:
			l.metric.hash, extras = extras[0], extras[1:]
		}
		p.lines = append(p.lines, l)
	}
	if isGrouped(p.lines, func(l groupedLine) metricKey { return l.metric }) {
		return
	}
	ranks := map[metricKey]int{}
	for i := range p.lines {
		l := &p.lines[i]
		if _, ok := ranks[l.metric]; !ok {
			ranks[l.metric] = len(ranks)
		}
		l.rank = ranks[l.metric]
	}
	slices.SortStableFunc(p.lines, func(a, b groupedLine) int { return cmp.Compare(a.rank, b.rank) })
	p.repack(p.lines)
}

// repack writes the operations of the visit anew.
func (p *packer) repack(lines []groupedLine) {
	ops := packedOps{run: -1}
	for i := range lines {
		l := &lines[i]
		if l.known >= 0 {
			ops.line(l.known)
		} else {
			ops.closeRun()
			if l.variant >= 0 {
				ops.next = l.variant + 1
			}
		}
		ops.buf = append(ops.buf, l.op...)
	}
	ops.end()
	p.ops.buf = append(p.ops.buf[:p.start], ops.buf...)
}

// isGrouped says whether equal keys stand together.
func isGrouped[T any](lines []T, key func(T) metricKey) bool {
	began := make(map[metricKey]bool, len(lines))
	for i, l := range lines {
		k := key(l)
		if i > 0 && k == key(lines[i-1]) {
			continue
		}
		if began[k] {
			return false
		}
		began[k] = true
	}
	return true
}
