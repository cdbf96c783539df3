package exposition

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// The family that reports which targets responded. If any part has an up, the proxy
// owns this family: its HELP and TYPE take precedence, and each part's own sample
// precedes the samples of its body.
const (
	upName = "up"
	upHelp = "1 if the target answered this scrape with a valid exposition, 0 if it did not."
)

// Part is what one target contributes to the output.
type Part struct {
	Labels Labels // the labels that its body was read with; distinct from those of every other part
	Up     bool   // the value of the target's up
	HasUp  bool   // whether an up is written for the target
	Body   *Body  // nil if the target returned none
}

// Merged is an output that is decided, but not written. Immutable until Release.
type Merged struct {
	format    Format
	parts     []Part
	packed    []packedPart // by part
	members   [][]member   // from pools.members
	pools     *pools       // nil without packed bodies
	families  []*mergedFamily
	conflicts []Conflict
}

// Merge decides how the parts combine in an output of that format, which must be the
// one that their bodies were read for. In every family, the samples are in the order of
// the parts. If parts disagree on a HELP, the first one wins.
//
// A family is demoted if its parts declare different types, or if its name is the name
// of another family's samples (gauge foo_count and histogram foo). Its samples are then
// written as untyped families, one for each sample name. No sample is lost.
func Merge(format Format, parts []Part) *Merged {
	m := &Merged{format: format, parts: parts, packed: packedParts(parts)}
	groups := m.groupFamilies()
	demoted := demotions(groups, format.syntax)
	m.families = mergeFamilies(format.syntax, groups, demoted, parts)
	m.conflicts = collectConflicts(parts, demoted)
	return m
}

// Release returns the memory of the parts' bodies for reuse, after the output was
// written. Neither the bodies nor m may be used afterwards. The call is optional.
func (m *Merged) Release() {
	for i := range m.parts {
		if b := m.parts[i].Body; b != nil {
			b.Release()
		}
	}
	for _, members := range m.members {
		give(m.pools, &m.pools.members, members)
	}
}

// Conflicts returns what reading and merging had to resolve, ordered by kind and
// family.
func (m *Merged) Conflicts() []Conflict { return m.conflicts }

// mergedFamily is one family of the output.
type mergedFamily struct {
	name    string // as on its TYPE line
	help    string // empty if there is none
	unit    string // never set in text; empty if there is none
	typ     metricType
	isOurs  bool // up: each part's own sample precedes those of its body
	sources []selection
}

// selection is a source, or only its samples with one name.
type selection struct {
	source
	name string // empty = all
}

// mergeFamilies builds the families of the output: up first, if it is ours, and the
// others by name.
func mergeFamilies(out syntax, groups map[string]*group, demoted []*group, parts []Part) []*mergedFamily {
	families := make([]*mergedFamily, 0, len(groups))
	bySample := map[string]*mergedFamily{} // from demoted groups
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
			up.typ, up.help, up.isOurs = gauge, upHelp, true
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
	slices.SortFunc(families, func(a, b *mergedFamily) int {
		switch {
		case a.isOurs:
			return -1
		case b.isOurs:
			return 1
		}
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.typ, b.typ))
	})
	return families
}

// addTo adds the group to a family as it is. The family gets a UNIT only if all
// declared units agree and, in OpenMetrics, the name ends with it.
func (g *group) addTo(f *mergedFamily, out syntax) {
	f.typ, _ = g.typ()
	unitsAgree := out != text
	for _, s := range g.sources {
		if d := s.family.declared; d != nil {
			f.help = cmp.Or(f.help, d.help) // the HELP of our up stays
			f.unit = cmp.Or(f.unit, d.unit)
			unitsAgree = unitsAgree && (d.unit == "" || d.unit == f.unit)
		}
		f.sources = append(f.sources, selection{source: s})
	}
	if !unitsAgree || out == openMetrics && !isUnitOf(f.unit, f.name) {
		f.unit = ""
	}
}

// addBySampleName adds the samples of the group to one family per sample name.
func (g *group) addBySampleName(at func(string) *mergedFamily, parts []Part) {
	for _, s := range g.sources {
		byName := map[string][]member{}
		for _, m := range s.members {
			for sample := range parts[m.part].Body.each(s.family, m.at) {
				name := sample.name()
				if members := byName[name]; len(members) == 0 || members[len(members)-1] != m {
					byName[name] = append(members, m)
				}
			}
		}
		for name, members := range byName {
			f := at(name)
			f.sources = append(f.sources, selection{source{s.family, members}, name})
		}
	}
}

// turn is the samples of one part in a family, which are written together.
type turn struct {
	member
	from *selection // nil for the part's own up
}

// turns iterates over what the parts contribute to a family, in the order of the parts.
func (m *Merged) turns(f *mergedFamily) iter.Seq[turn] {
	if len(f.sources) == 1 && !f.isOurs {
		return func(yield func(turn) bool) {
			for _, member := range f.sources[0].members {
				if !yield(turn{member, &f.sources[0]}) {
					return
				}
			}
		}
	}
	var turns []turn
	if f.isOurs {
		for i := range m.parts {
			if m.parts[i].HasUp {
				turns = append(turns, turn{member: member{part: int32(i)}})
			}
		}
	}
	for i := range f.sources {
		for _, member := range f.sources[i].members {
			turns = append(turns, turn{member, &f.sources[i]})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Compare(a.part, b.part) })
	return slices.Values(turns)
}
