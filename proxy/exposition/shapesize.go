package exposition

import (
	"math/bits"
	"unsafe"
)

// trim drops what only learning needed: unused capacity, copies of names, and the
// declarations from all lines of a name, which those of the families have inherited.
func (s *shape) trim() {
	s.text, s.lines, s.families = exact(s.text), exact(s.lines), exact(s.families)
	count := 0
	for i := range s.lines {
		count += len(s.lines[i].values)
	}
	all := make([]labelPlace, 0, count)
	for i := range s.lines {
		if l := &s.lines[i]; l.values != nil {
			start := len(all)
			all = append(all, l.values...)
			l.values = all[start:len(all):len(all)]
		}
	}
	for d := range s.declarations() {
		d.all = nil
	}
	known := map[string]string{}
	s.eachName(func(name *string) {
		if same, ok := known[*name]; ok {
			*name = same
		} else {
			known[*name] = *name
		}
	})
}

// exact returns a copy without unused capacity.
func exact[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

// declarations returns the declarations of the shape.
func (s *shape) declarations() map[*declaration]bool {
	all := map[*declaration]bool{}
	if s.current != nil {
		all[s.current] = true
	}
	for i := range s.families {
		if d := s.families[i].declared; d != nil {
			all[d] = true
		}
	}
	return all
}

// eachName calls a function with each name in the shape.
func (s *shape) eachName(do func(*string)) {
	for d := range s.declarations() {
		do(&d.name)
		do(&d.written)
	}
	for i := range s.families {
		do(&s.families[i].name)
	}
	for i := range s.names {
		do(&s.names[i].exposed)
		do(&s.names[i].written)
	}
}

// size returns about how much memory a trimmed shape takes, in bytes, including its
// entries in the tables of the catalog.
func (s *shape) size() int {
	size := heapSize(int(unsafe.Sizeof(*s))) + heapSize(len(s.key)) + heapSize(len(s.head)) + heapSize(len(s.text)) +
		sizeOf[shapeLine](len(s.lines)) + sizeOf[family](len(s.families)) + sizeOf[sampleName](len(s.names)) +
		sizeOf[int32](len(s.bySeries)) + sizeOf[byte](1) // isContested
	values := 0
	for i := range s.lines {
		values += len(s.lines[i].values)
	}
	size += sizeOf[labelPlace](values)
	if s.byMetric != nil {
		size += mapHeader + max(8, len(s.byMetric))*entrySize(24)
	}
	declarations := s.declarations()
	for d := range declarations {
		size += sizeOf[declaration](1) + heapSize(len(d.help)) + heapSize(len(d.unit))
	}
	distinct := map[string]bool{}
	s.eachName(func(name *string) {
		if !distinct[*name] {
			distinct[*name] = true
			size += heapSize(len(*name))
		}
	})
	claims := len(s.families) + len(s.names) + len(declarations)
	size += sizeOf[claim](claims)
	return size + entrySize(24) + claims*(entrySize(32)+pointer) + pointer // byHead; names and claimants; shapes
}

const (
	mapHeader = 48
	pointer   = 10 // in a slice that grows by a quarter
)

// entrySize returns how much memory an entry of a map takes on average, if its key and
// value take slot bytes: tables are between 7/16 and 7/8 full.
func entrySize(slot int) int { return (slot + 1) * 5 / 3 }

// sizeOf returns how much memory a slice of n elements takes.
func sizeOf[T any](n int) int { return heapSize(int(bytesOf[T](n))) }

// heapSize rounds a number of bytes up to what the allocator of Go takes for it.
func heapSize(n int) int {
	step := 16
	if n > 256 {
		step = 1 << (bits.Len(uint(n-1)) - 4)
	}
	return (n + step - 1) / step * step
}

// unknownSize returns how much memory an unknownLine takes that is that long; isFirst,
// if it is the first one of its learner.
func unknownSize(length int, isFirst bool) int64 {
	size := int(unsafe.Sizeof(unknownLine{})) + heapSize(length) + entrySize(24)
	if isFirst {
		size += mapHeader + 8*entrySize(24)
	}
	return int64(size)
}
