package exposition

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// The family that tells which targets answered. Where any part has an up, this
// family is the proxy's: its HELP and TYPE win, and each part's own sample stands
// before what its body says.
const (
	upName = "up"
	upHelp = "1 if the target answered this scrape with a valid exposition, 0 if it did not."
)

// Part is what one target adds to an answer.
type Part struct {
	Labels Labels // the same that its body was read with; distinct from every other part's
	Up     bool   // the value of the target's up
	HasUp  bool   // whether it has one
	Body   *Body  // nil if the target gave none
}

// Merged is an answer, decided but not written. Immutable.
type Merged struct {
	format    Format
	parts     []Part
	families  []*mergedFamily
	conflicts []Conflict
}

// Merge decides how the parts stand together in an answer of that format, the one
// that their bodies were read for. The order of the parts is that of their samples in
// every family; where parts disagree on a HELP the first wins.
//
// A family whose parts declare different types, or whose name is the name of
// another family's samples (gauge foo_count beside histogram foo), is demoted: its
// samples are written as untyped families, one for each sample name. No sample is
// lost by it.
func Merge(format Format, parts []Part) *Merged {
	m := &Merged{format: format, parts: parts}
	groups := groupFamilies(parts)
	demoted := demotions(groups, format.syntax)
	m.families = mergeFamilies(format.syntax, groups, demoted, parts)
	m.conflicts = collectConflicts(parts, demoted)
	return m
}

// Conflicts says what reading and merging had to resolve, by kind and family.
func (m *Merged) Conflicts() []Conflict { return m.conflicts }

// mergedFamily is one family of the answer.
type mergedFamily struct {
	name   string // as on its TYPE line
	help   string // empty if there is none
	unit   string // OpenMetrics; empty if there is none
	typ    metricType
	blocks []block // one for each part that has samples, in the order of the parts
}

// block is what one part adds to a family, in its original order: either a whole
// family of its body, from its first sample on, or the samples that picked names.
type block struct {
	part   int
	first  int32
	picked []int32
}

// samples goes through the block's samples of body, which is its part's.
func (b block) samples(body *Body) iter.Seq[*sample] {
	return func(yield func(*sample) bool) {
		for _, i := range b.picked {
			if !yield(&body.samples[i]) {
				return
			}
		}
		if b.picked != nil {
			return
		}
		for i := b.first; i >= 0; i = body.samples[i].next {
			if !yield(&body.samples[i]) {
				return
			}
		}
	}
}

// mergeFamilies makes the families of the answer, up first and the others by name.
func mergeFamilies(out syntax, groups map[string]*group, demoted []*group, parts []Part) []*mergedFamily {
	families := make([]*mergedFamily, 0, len(groups))
	bySample := map[string]*mergedFamily{} // those of demoted groups
	at := func(name string) *mergedFamily {
		f := bySample[name]
		if f == nil {
			f = &mergedFamily{name: name}
			bySample[name] = f
			families = append(families, f)
		}
		return f
	}
	for _, g := range demoted {
		g.addBySampleName(at, parts)
	}
	for _, g := range groups {
		if g.isOurs {
			up := at(upName)
			up.typ, up.help = gauge, upHelp
		}
		switch {
		case g.isDemoted:
		case g.isOurs:
			g.addTo(at(upName), out)
		default:
			f := &mergedFamily{name: g.written(out)}
			g.addTo(f, out)
			families = append(families, f)
		}
	}
	for _, f := range families {
		f.joinBlocks()
	}
	slices.SortFunc(families, func(a, b *mergedFamily) int {
		isUp := func(f *mergedFamily) int {
			if f.name == upName && f.typ == gauge {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(isUp(a), isUp(b)), strings.Compare(a.name, b.name), cmp.Compare(a.typ, b.typ))
	})
	return families
}

// addTo adds the group's families as they are. Of the units those that are declared
// must agree, and OpenMetrics wants them in the name.
func (g *group) addTo(f *mergedFamily, out syntax) {
	f.typ, _ = g.typ()
	unitsAgree := out != text
	for _, m := range g.members {
		if d := m.family.declared; d != nil {
			f.help = cmp.Or(f.help, d.help) // ours, of up, stays
			f.unit = cmp.Or(f.unit, d.unit)
			unitsAgree = unitsAgree && (d.unit == "" || d.unit == f.unit)
		}
		f.blocks = append(f.blocks, block{part: m.part, first: m.family.first})
	}
	if !unitsAgree || out == openMetrics && !isUnitOf(f.unit, f.name) {
		f.unit = ""
	}
}

// addBySampleName adds the group's samples to a family each of their own name.
func (g *group) addBySampleName(at func(string) *mergedFamily, parts []Part) {
	for _, m := range g.members {
		body := parts[m.part].Body
		for i := m.family.first; i >= 0; i = body.samples[i].next {
			f := at(body.name(&body.samples[i]))
			if n := len(f.blocks); n > 0 && f.blocks[n-1].part == m.part {
				f.blocks[n-1].picked = append(f.blocks[n-1].picked, i)
			} else {
				f.blocks = append(f.blocks, block{part: m.part, picked: []int32{i}})
			}
		}
	}
}

// joinBlocks makes the blocks one a part, in the order of the parts: the samples
// of a demoted family can come from several groups.
func (f *mergedFamily) joinBlocks() {
	slices.SortStableFunc(f.blocks, func(a, b block) int { return cmp.Compare(a.part, b.part) })
	joined := f.blocks[:0]
	for _, b := range f.blocks {
		if n := len(joined); n > 0 && joined[n-1].part == b.part {
			joined[n-1].picked = append(joined[n-1].picked, b.picked...)
		} else {
			joined = append(joined, b)
		}
	}
	f.blocks = joined
}
