package exposition

import (
	"slices"
	"sort"
	"strings"
)

// sampleName is a name of samples, and what it becomes.
type sampleName struct {
	exposed string // as in a body
	written string // as the output can carry it
	family  int32  // in shape.families
	claim   uint32 // see claim.id
	isSeen  bool   // some line has it; else the TYPE allows it
}

// sampleNames are ordered by exposed. Most shapes have few, for which a map would take
// much more memory.
type sampleNames []sampleName

// orderedNames returns the values of a map by exposed.
func orderedNames(byExposed map[string]sampleName) sampleNames {
	names := make(sampleNames, 0, len(byExposed))
	for _, name := range byExposed {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b sampleName) int { return strings.Compare(a.exposed, b.exposed) })
	return names
}

// find returns the sampleName of a name in a body, or false.
func (names sampleNames) find(exposed []byte) (sampleName, bool) {
	i := sort.Search(len(names), func(i int) bool { return names[i].exposed >= string(exposed) })
	if i < len(names) && names[i].exposed == string(exposed) {
		return names[i], true
	}
	return sampleName{}, false
}
