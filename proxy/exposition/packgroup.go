package exposition

import "slices"

// metricKey identifies a metric among those of the families of a shape.
type metricKey struct {
	family int32
	hash   uint64 // see hasher.metricHash
}

// grouper brings the samples of each metric together, one visit at a time. The rank of
// a metric is the number of metrics that began before it.
type grouper struct {
	lines  []packedLine
	ranks  []int32             // of lines
	known  []int32             // by shapeLine.metric: its rank in this visit + 1, or 0
	others map[metricKey]int32 // ranks of the metrics that the shape does not have
	order  []int32             // of lines
	starts []int32             // by rank: the number of its lines, then where they come in order
}

// group stores the order in which to write the lines so that the samples of each metric
// are together, as parser.groupMetrics does. In most bodies they already are.
func (p *packer) group() error {
	if p.isFollowing {
		if p.trail.isAtEnd() {
			return nil // the trail's order applies
		}
		if err := p.leaveTrail(); err != nil {
			return err
		}
	}
	if len(p.parts) == 0 && len(p.seen) == 0 && p.shape.isGrouped {
		return nil
	}
	g := &p.grouper
	if !g.rank(p.shape, p.ops.buf[p.start:], p.parts) {
		p.ops.insertOrder(p.start, g.sorted())
	}
	return nil
}

// rank ranks the lines of a visit, and reports whether those of each metric are already
// together. parts are the metricHashes of the lines that the shape does not have.
func (g *grouper) rank(s *shape, ops []byte, parts []uint64) (isGrouped bool) {
	g.lines, g.ranks = g.lines[:0], g.ranks[:0]
	g.known = slices.Grow(g.known[:0], s.metrics)[:s.metrics]
	clear(g.known)
	clear(g.others)
	g.starts = g.starts[:0]
	isGrouped = true
	last := int32(-1)
	u := unpacker{shape: s, ops: ops}
	for l := (packedLine{}); u.line(&l); last = g.ranks[len(g.ranks)-1] {
		rank := last
		switch {
		case l.known >= 0:
			rank = g.rankOf(s.lines[l.known].metric)
		case l.family >= 0:
			rank = g.rankOfOther(s, metricKey{l.family, parts[0]})
			parts = parts[1:]
		case last < 0:
			rank = g.begin() // a line that is not a sample stays where it is
		}
		isGrouped = isGrouped && rank >= last
		g.lines, g.ranks = append(g.lines, l), append(g.ranks, rank)
		g.starts[rank]++ // counts its lines
	}
	return isGrouped
}

// begin adds a metric and returns its rank.
func (g *grouper) begin() int32 {
	g.starts = append(g.starts, 0)
	return int32(len(g.starts) - 1)
}

func (g *grouper) rankOf(metric int32) int32 {
	if g.known[metric] == 0 {
		g.known[metric] = g.begin() + 1
	}
	return g.known[metric] - 1
}

func (g *grouper) rankOfOther(s *shape, key metricKey) int32 {
	if metric, ok := s.byMetric[key]; ok {
		return g.rankOf(metric)
	}
	rank, ok := g.others[key]
	if !ok {
		if g.others == nil {
			g.others = map[metricKey]int32{}
		}
		rank = g.begin()
		g.others[key] = rank
	}
	return rank
}

// sorted returns the indexes of the lines in the order of their ranks.
func (g *grouper) sorted() []int32 {
	sum := int32(0)
	for rank, n := range g.starts {
		g.starts[rank] = sum
		sum += n
	}
	g.order = slices.Grow(g.order[:0], len(g.lines))[:len(g.lines)]
	for i, rank := range g.ranks {
		g.order[g.starts[rank]] = int32(i)
		g.starts[rank]++
	}
	return g.order
}
