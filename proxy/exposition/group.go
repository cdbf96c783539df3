package exposition

import "slices"

// group is one family name with what the parts say of it.
type group struct {
	name    string
	members []member // in the order of the parts
	isOurs  bool     // the family is the proxy's own: up
}

// member is the family of one part. It has samples.
type member struct {
	part   int
	family *family
}

// groupFamilies collects the families of all parts that have samples, by name.
func groupFamilies(parts []Part) map[string]*group {
	groups := make(map[string]*group)
	if slices.ContainsFunc(parts, func(p Part) bool { return p.HasUp }) {
		groups[upName] = &group{name: upName, isOurs: true}
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
			g := groups[f.name]
			if g == nil {
				g = &group{name: f.name}
				groups[f.name] = g
			}
			g.members = append(g.members, member{part: i, family: f})
		}
	}
	return groups
}

// demotions returns the names of the groups that cannot stand as one family each,
// sorted.
func demotions(groups map[string]*group) []string {
	var names []string
	for name, g := range groups {
		if g.disagrees() {
			names = append(names, name)
		}
		for _, suffix := range g.suffixes() {
			if groups[name+suffix] != nil {
				names = append(names, name, name+suffix)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// typ is the type that the members agree on, and false if they do not. Members
// that declare none have no say.
func (g *group) typ() (metricType, bool) {
	if g.isOurs {
		return gauge, true
	}
	typ := untyped
	for _, m := range g.members {
		switch t := m.family.typ; {
		case t == untyped || t == typ:
		case typ == untyped:
			typ = t
		default:
			return untyped, false
		}
	}
	return typ, true
}

// disagrees says whether the members cannot stand under one TYPE.
func (g *group) disagrees() bool {
	typ, ok := g.typ()
	return !ok || slices.ContainsFunc(g.members, func(m member) bool {
		if typ.suffixes() == nil {
			return m.family.hasSuffixed
		}
		return !m.family.under.only(typ)
	})
}

// suffixes are those that samples of the group may carry.
func (g *group) suffixes() []string {
	var types typeSet
	for _, m := range g.members {
		types = types.with(m.family.typ)
		if m.family.hasSuffixed {
			types |= m.family.under
		}
	}
	var suffixes []string
	for _, t := range []metricType{histogram, summary} {
		if types.has(t) {
			suffixes = append(suffixes, t.suffixes()...)
		}
	}
	return suffixes
}
