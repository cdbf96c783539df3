package exposition

import "slices"

// metricKey tells the metrics of a shape's families apart.
type metricKey struct {
	family int32
	hash   uint64 // see seriesSet.metricHash
}

// grouper brings the samples of each metric together, for one visit at a time. A
// metric's rank is how many metrics began before it.
type grouper struct {
	lines  []packedLine
	ranks  []int32             // of lines
	known  []int32             // by shapeLine.metric: its rank in this visit + 1, or 0
	others map[metricKey]int32 // of metrics that the shape does not know: the rank
	order  []int32             // of lines
	starts []int32             // by rank: where its lines come
}

// group says in which order lines are to be written so that the samples of each metric
// stand together, as parser.groupMetrics brings them. Most bodies have them so.
func (p *packer) group() error {
	if p.isFollowing {
		if p.trail.isAtEnd() {
			return nil // the trail's order it is
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

// rank goes through the lines of a visit, and says whether those of each metric stand
// together already. parts are the metrics of the lines that the shape does not know.
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
			rank = g.begin() // what is no sample stays where it is
		}
		isGrouped = isGrouped && rank >= last
		g.lines, g.ranks = append(g.lines, l), append(g.ranks, rank)
		g.starts[rank]++ // how many, so far
	}
	return isGrouped
}

// begin begins another metric.
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

// sorted returns the lines in the order of their ranks.
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
