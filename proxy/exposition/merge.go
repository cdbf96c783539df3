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

// Conflicts counts what had to be resolved, and how.
type Conflicts struct {
	Types      int // families written as untyped per sample name
	Labels     int // exposed labels renamed to exported_<name>
	Duplicates int // samples dropped, their series being there already
	Up         int // samples dropped, because up{} is the proxy's to tell
}

func (c *Conflicts) add(other Conflicts) {
	c.Types += other.Types
	c.Labels += other.Labels
	c.Duplicates += other.Duplicates
	c.Up += other.Up
}

// Merged is an answer, decided but not written. Immutable.
type Merged struct {
	parts     []Part
	families  []mergedFamily
	conflicts Conflicts
	demoted   []string
}

// Merge decides how the parts stand together. The order of the parts is that of
// their samples in every family; where parts disagree on a HELP the first wins.
//
// A family whose parts declare different types, or whose name is the name of
// another family's samples (gauge foo_count beside histogram foo), is demoted: its
// samples are written as untyped families, one for each sample name. No sample is
// lost by it. Parts that declare no type do not count, but the samples of a
// histogram or summary must all have stood under that TYPE: its buckets would
// otherwise be read as what their target never said.
func Merge(parts []Part) *Merged {
	m := &Merged{parts: parts}
	groups := groupFamilies(parts)
	m.demoted = demotions(groups)
	m.families = mergeFamilies(groups, m.demoted, parts)
	m.conflicts.Types = len(m.demoted)
	for _, p := range parts {
		if p.Body != nil {
			m.conflicts.add(p.Body.conflicts)
		}
	}
	return m
}

// Conflicts counts what reading and merging had to resolve.
func (m *Merged) Conflicts() Conflicts { return m.conflicts }

// Demoted are the names of the families that had to be written as untyped, sorted.
func (m *Merged) Demoted() []string { return m.demoted }

// mergedFamily is one family of the answer.
type mergedFamily struct {
	name   string
	help   []byte // escaped; empty if there is none
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
func mergeFamilies(groups map[string]*group, demoted []string, parts []Part) []mergedFamily {
	byName := make(map[string]*mergedFamily, len(groups))
	at := func(name string) *mergedFamily {
		f := byName[name]
		if f == nil {
			f = &mergedFamily{name: name}
			byName[name] = f
		}
		return f
	}
	for name, g := range groups {
		if _, isDemoted := slices.BinarySearch(demoted, name); isDemoted {
			g.addBySampleName(at, parts)
		} else {
			g.addTo(at(name))
		}
	}
	if groups[upName] != nil && groups[upName].isOurs {
		up := at(upName)
		up.typ, up.help = gauge, []byte(upHelp)
	}
	families := make([]mergedFamily, 0, len(byName))
	for _, f := range byName {
		f.joinBlocks()
		families = append(families, *f)
	}
	slices.SortFunc(families, func(a, b mergedFamily) int {
		switch upName {
		case a.name:
			return -1
		case b.name:
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return families
}

// addTo adds the group's families as they are.
func (g *group) addTo(f *mergedFamily) {
	f.typ, _ = g.typ()
	for _, m := range g.members {
		if len(f.help) == 0 {
			f.help = m.family.help
		}
		f.blocks = append(f.blocks, block{part: m.part, first: m.family.first})
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
			slices.Sort(joined[n-1].picked)
		} else {
			joined = append(joined, b)
		}
	}
	f.blocks = joined
}
