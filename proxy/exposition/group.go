package exposition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// group collects the families of one name from all parts; in protobuf, of one name and
// type.
type group struct {
	name    string
	sources []source // in the order of their first members

	isOurs    bool // the family is the proxy's own up
	isDemoted bool // see demotions
}

// source is a family, of one body or of a shape, and where bodies have samples of it.
type source struct {
	family  *family
	members []member // in the order of the parts
}

// member locates the samples of a family in one part.
type member struct {
	part int32
	at   uint32 // see Body.each
}

// groupFamilies groups the families of all parts that have samples, by name and, in
// protobuf, by type.
func (m *Merged) groupFamilies() map[string]*group {
	parts := m.parts
	groups := make(map[string]*group)
	if slices.ContainsFunc(parts, func(p Part) bool { return p.HasUp }) {
		groups[upName] = &group{name: upName, isOurs: true}
	}
	add := func(key string, s source) {
		g := groups[key]
		if g == nil {
			g = &group{name: s.family.name}
			groups[key] = g
		}
		g.sources = append(g.sources, s)
	}
	for _, s := range m.packedSources() {
		add(s.family.name, s)
	}
	for i, p := range parts {
		if p.Body == nil {
			continue
		}
		for j := range p.Body.families {
			f := &p.Body.families[j]
			if f.first < 0 {
				continue
			}
			key := f.name
			if p.Body.format.syntax == protobuf && (f.name != upName || f.typ != gauge) { // our up is a gauge
				key = fmt.Sprintf("%d %s", f.typ, f.name) // one name may have families of several types
			}
			add(key, source{f, []member{{int32(i), uint32(f.first)}}})
		}
	}
	for _, g := range groups {
		slices.SortStableFunc(g.sources, func(a, b source) int { return cmp.Compare(a.members[0].part, b.members[0].part) })
	}
	return groups
}

// packedSources collects the families of all packed bodies: one source per family of a
// shape, not one per body.
func (m *Merged) packedSources() []source {
	var all []source
	for c, parts := range packedByCatalog(m.parts) {
		shapes, families := c.all()
		counts := make([]int, families)
		total := 0
		for _, p := range parts {
			for f := range p.families(shapes) {
				counts[f.id]++
				total++
			}
		}
		members := take(parts[0].pools, &parts[0].pools.members, total) // of all families, one after the other
		m.members, m.pools = append(m.members, members), parts[0].pools
		sources := make([]source, families)
		for id, n := range counts {
			sources[id].members = members[len(members) : len(members) : len(members)+n]
			members = members[:len(members)+n]
		}
		for _, p := range parts {
			for f, at := range p.families(shapes) {
				if p.hasSamples(f, at) {
					s := &sources[f.id]
					s.family, s.members = f, append(s.members, member{p.part, at})
				}
			}
		}
		all = append(all, slices.DeleteFunc(sources, func(s source) bool { return s.family == nil })...)
	}
	return all
}

// numbered is a packed body with the index of its part.
type numbered struct {
	*packed
	part int32
}

func packedByCatalog(parts []Part) map[*catalog][]numbered {
	all := map[*catalog][]numbered{}
	for i, p := range parts {
		if p.Body != nil && p.Body.packed != nil {
			c := p.Body.packed.catalog
			all[c] = append(all[c], numbered{p.Body.packed, int32(i)})
		}
	}
	return all
}

// demotions marks and returns, ordered by name, the groups that cannot be written as
// one family each: their members disagree, or their name is that of the samples of
// another group. Two groups have the same written name only in OpenMetrics: a counter
// and another one, which stays if its samples have no suffix. Every Go program has a
// gauge go_memstats_alloc_bytes and a counter go_memstats_alloc_bytes_total.
func demotions(groups map[string]*group, out syntax) []*group {
	if out == protobuf {
		return nil // one name may have families of several types
	}
	var demoted []*group
	byWritten := make(map[string]*group, len(groups))
	demote := func(groups ...*group) {
		for _, g := range groups {
			if !g.isDemoted {
				g.isDemoted = true
				demoted = append(demoted, g)
			}
		}
	}
	for _, g := range groups {
		written := g.written(out)
		other := byWritten[written]
		switch {
		case other == nil:
			byWritten[written] = g
		case len(other.suffixes(out)) == 0: // a counter foo_total and a gauge foo
			demote(g)
		case len(g.suffixes(out)) == 0:
			demote(other)
			byWritten[written] = g
		default:
			demote(g, other)
		}
	}
	for _, g := range groups {
		if g.disagrees(out) {
			demote(g)
		}
		for _, suffix := range g.suffixes(out) {
			if other := byWritten[g.written(out)+suffix]; other != nil && other != g {
				demote(g, other)
			}
		}
	}
	slices.SortFunc(demoted, func(a, b *group) int { return cmp.Compare(a.name, b.name) })
	return demoted
}

// typ returns the type that the members agree on, or false if they disagree. Members
// that declare no type do not count.
func (g *group) typ() (metricType, bool) {
	if g.isOurs {
		return gauge, true
	}
	typ := untyped
	for _, s := range g.sources {
		switch t := s.family.typ; {
		case t == untyped || t == typ:
		case typ == untyped:
			typ = t
		default:
			return untyped, false
		}
	}
	return typ, true
}

// written returns the name of the family in the output.
func (g *group) written(out syntax) string {
	if typ, ok := g.typ(); ok {
		return writtenName(out, g.name, typ)
	}
	return g.name
}

// writtenName returns the name of a family on its TYPE line: in OpenMetrics, the name
// of a counter without the _total of its samples.
func writtenName(out syntax, name string, typ metricType) string {
	if out == openMetrics && typ == counter {
		return strings.TrimSuffix(name, "_total")
	}
	return name
}

// disagrees reports whether the members cannot be written under one TYPE. The samples
// of a histogram or summary must all have been under that TYPE in their bodies.
// Otherwise, Prometheus would read buckets or quantiles that the target did not expose
// as such.
func (g *group) disagrees(out syntax) bool {
	typ, ok := g.typ()
	return !ok || slices.ContainsFunc(g.sources, func(s source) bool {
		return s.family.hasSuffixed && len(writtenSuffixes(out, typ)) == 0 ||
			typ.floatLabel() != "" && !s.family.under.only(typ)
	})
}

// suffixes returns the suffixes that samples of the group may have in the output.
func (g *group) suffixes(out syntax) []string {
	var types typeSet
	for _, s := range g.sources {
		types = types.with(s.family.typ)
		if s.family.hasSuffixed {
			types |= s.family.under
		}
	}
	var suffixes []string
	for t := untyped; t <= stateset; t++ {
		if types.has(t) {
			suffixes = append(suffixes, writtenSuffixes(out, t)...)
		}
	}
	return suffixes
}

// writtenSuffixes returns the suffixes that samples of a family of this type have in
// the output, after the name on its TYPE line.
func writtenSuffixes(out syntax, t metricType) []string {
	if out == text && t == counter {
		return nil
	}
	return t.suffixes(out)
}
