package exposition

import (
	"cmp"
	"slices"
)

// ConflictKind is what had to be resolved, and how it was resolved.
type ConflictKind string

// The list is exhaustive.
const (
	TypeConflict      ConflictKind = "type"      // a family was written as untyped, by sample name
	LabelConflict     ConflictKind = "label"     // an exposed label was renamed to exported_<name>
	DuplicateConflict ConflictKind = "duplicate" // a sample was dropped because its series is already there
	UpConflict        ConflictKind = "up"        // a sample was dropped because the proxy writes up{} itself
	TimestampConflict ConflictKind = "timestamp" // a sample was dropped because the output cannot carry its timestamp
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

// Conflict is what had to be resolved in one family of the output.
type Conflict struct {
	Kind   ConflictKind
	Family string
	Count  int   // 1 for TypeConflict, labels for LabelConflict, else samples (in protobuf: Metrics)
	Parts  []int // indexes of the parts concerned, in ascending order
}

// collectConflicts combines the conflicts found while reading the parts with the
// demoted families, ordered by kind and family.
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
