package exposition

import (
	"cmp"
	"slices"
)

// ConflictKind is what had to be resolved, and how.
type ConflictKind string

// The kinds are a closed list.
const (
	TypeConflict      ConflictKind = "type"      // a family was written as untyped, by sample name
	LabelConflict     ConflictKind = "label"     // an exposed label was renamed to exported_<name>
	DuplicateConflict ConflictKind = "duplicate" // a sample was dropped, its series being there already
	UpConflict        ConflictKind = "up"        // a sample was dropped, because up{} is the proxy's to tell
	TimestampConflict ConflictKind = "timestamp" // a sample was dropped, because the answer cannot carry its timestamp
)

// ConflictKinds returns all kinds.
func ConflictKinds() []ConflictKind {
	return []ConflictKind{TypeConflict, LabelConflict, DuplicateConflict, UpConflict, TimestampConflict}
}

// conflict is a kind of conflict in one family.
type conflict struct {
	kind   ConflictKind
	family string
}

// Conflict is what had to be resolved in one family of an answer.
type Conflict struct {
	Kind   ConflictKind
	Family string
	Count  int   // lines or, for TypeConflict, 1
	Parts  []int // which parts are concerned, in their order
}

// collectConflicts joins what reading the parts found with the families that were
// demoted, by kind and family.
func collectConflicts(parts []Part, demoted []*group) []Conflict {
	found := map[conflict]*Conflict{}
	for i, p := range parts {
		if p.Body == nil {
			continue
		}
		for c, n := range p.Body.conflicts {
			if found[c] == nil {
				found[c] = &Conflict{Kind: c.kind, Family: c.family}
			}
			found[c].Count += n
			found[c].Parts = append(found[c].Parts, i)
		}
	}
	var all []Conflict
	for _, c := range found {
		all = append(all, *c)
	}
	for _, g := range demoted {
		c := Conflict{Kind: TypeConflict, Family: g.name, Count: 1}
		for _, s := range g.sources {
			for _, m := range s.members {
				c.Parts = append(c.Parts, int(m.part))
			}
		}
		slices.Sort(c.Parts)
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Family, b.Family))
	})
	return all
}
