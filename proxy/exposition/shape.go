package exposition

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync/atomic"
)

// shape is what bodies have in common in one family: its comment lines, and its sample
// lines without their values. Its lines never change, because many bodies are read
// through it at the same time.
type shape struct {
	index       uint32       // in catalog.shapes
	number      uint32       // the same in all versions
	head        []byte       // the comment lines, as in a body
	isOdd       bool         // the reference engine must read a body with this head
	current     *declaration // from the head; nil if it has no TYPE
	families    []family     // of the output, to which the lines belong; usually one
	claims      []claim
	isContested *atomic.Bool // another shape claims the same name; shared by all versions

	text     []byte // of all lines
	lines    []shapeLine
	names    sampleNames
	bySeries lineIndex

	// In OpenMetrics, if a metric may have several samples:
	hasParts  bool
	metrics   int                 // how many
	byMetric  map[metricKey]int32 // to shapeLine.metric
	isGrouped bool                // the lines of each metric are together

	key        string                // in catalog.byHead
	beginsBody bool                  // learned from the first family of a body
	next       atomic.Pointer[shape] // the shape that followed in a body: a guess
	newer      atomic.Pointer[shape] // the version with more lines that replaced it, or nil
	learner    learner
}

// shapeLine is a sample line without its value: offsets into shape.text. Each range
// ends before the value, and includes the blank before it.
type shapeLine struct {
	start, end          uint32       // as in a body
	out, insert, outEnd uint32       // as written; insert: see appendLabelled
	family              int32        // in shape.families
	renamed             int32        // how many labels are renamed because of the target's
	identity            uint64       // see hasher.identity
	metricHash          uint64       // in OpenMetrics: see hasher.metricHash
	metric              int32        // in OpenMetrics: the number of its metric in the shape
	values              []labelPlace // see valuesOf; nil for a line that is not written as received
}

// labelPlace locates a label in a line: offsets from the start of the line.
type labelPlace struct {
	name, start, end uint16 // of the name, and of the value without its quotes
	hash             uint64 // see hasher.labelHash
}

// A claim is a name that no other family of the same body may have. If another one has
// it, their lines cannot be read independently of each other.
type claim struct {
	id       uint32 // number in the catalog of the name and its role
	isShared bool   // families may have the name if all their claims are shared: each declares all of its metadata
}

func (s *shape) prefix(i int) []byte { return s.text[s.lines[i].start:s.lines[i].end] }

// written returns line i as it is written, up to the value, and where the labels are
// inserted.
func (s *shape) written(i int) (head []byte, insert int) {
	l := &s.lines[i]
	return s.text[l.out:l.outEnd], int(l.insert - l.out)
}

func (s *shape) length(i int) int { return int(s.lines[i].end - s.lines[i].start) }

// isAt reports whether a text begins with line i of the shape. It compares the end
// first, where lines that do not match differ more often.
func (s *shape) isAt(i int, text []byte) bool {
	prefix := s.prefix(i)
	n := len(prefix)
	if len(text) < n || n >= 8 && binary.LittleEndian.Uint64(text[n-8:]) != binary.LittleEndian.Uint64(prefix[n-8:]) {
		return false
	}
	return string(text[:n]) == string(prefix)
}

// isEmpty reports whether the shape was learned from a family without samples.
func (s *shape) isEmpty() bool { return len(s.lines) == 0 && !s.isOdd }

func (s *shape) typ() metricType {
	if s.current == nil {
		return untyped
	}
	return s.current.typ
}

// maxPasses limits the product of the families and the lines of a shape, because all of its
// lines are passed to write each of its families.
const maxPasses = 1 << 20

// learn creates a shape from the lines of one family, which begin with its head;
// beginsBody, if they begin a body. It returns nil for lines that a shape cannot
// represent, for example if the reference engine would reject or drop one of them.
func (c *catalog) learn(lines []byte, headLength int, beginsBody bool) *shape {
	p := newParser(bytes.Clone(lines), c.key.in, Options{Format: c.key.out, Labels: c.labels})
	p.series.seed = c.seed
	s := &shape{head: bytes.Clone(lines[:headLength]), beginsBody: beginsBody, learner: learner{catalog: c, rest: restingVisits}}
	names := map[string]sampleName{}
	for p.pos < len(p.text) {
		start, exposed, renamed := p.pos, p.exposed, p.exported
		if p.entry() != nil {
			return nil
		}
		if p.exposed == exposed { // a comment
			continue
		}
		if p.exposed != len(p.body.samples) || p.line.start != start || len(p.body.families)*p.exposed > maxPasses {
			return nil
		}
		s.add(p, int32(p.exported-renamed), names)
	}
	p.declareFamilies()
	s.current, s.families = p.current, p.body.families
	s.addUnseenNames(p, names)
	s.names = orderedNames(names)
	var areDistinct bool
	if s.bySeries, areDistinct = newLineIndex(s.lines); !areDistinct { // one series at several times
		return nil
	}
	if p.exported > 0 && len(s.families) > 1 {
		return nil
	}
	// Other names are declared, or the TYPE of the previous family would stay in
	// effect.
	s.isOdd = len(p.declared) > 1 || p.current == nil && (len(p.declared) > 0 || !beginsBody)
	s.numberMetrics(c.key.out.syntax)
	s.trim()
	return s
}

// add adds the line that was parsed last, and its name to names.
func (s *shape) add(p *parser, renamed int32, names map[string]sampleName) {
	l, sample := &p.line, &p.body.samples[len(p.body.samples)-1]
	line := shapeLine{start: uint32(len(s.text)), family: p.lastFamily, renamed: renamed}
	s.text = append(s.text, p.text[l.start:l.at]...)
	line.end = uint32(len(s.text))
	if sample.isRewritten {
		line.out = line.end
		head, insert := l.appendHead(s.text)
		s.text, line.insert, line.outEnd = head, uint32(insert), uint32(len(head))
	} else {
		line.out, line.insert, line.outEnd = line.start, line.start+uint32(l.insert-l.start), line.end
		line.values = valuesOf(l, p.series.hasher, p.typ())
	}
	if len(p.metrics) > 0 {
		line.metricHash = p.metrics[len(p.metrics)-1]
	}
	if !names[string(l.exposed)].isSeen {
		exposed := string(l.exposed)
		names[exposed] = sampleName{exposed: exposed, written: string(l.name), family: p.lastFamily, isSeen: true}
	}
	line.identity = p.series.identity(l, p.typ())
	s.lines = append(s.lines, line)
}

// valuesOf locates the labels of a canonical line. It returns nil if a value has
// escapes, or if the line is too long for labelPlace.
func valuesOf(l *line, series hasher, under metricType) []labelPlace {
	if l.end-l.start > math.MaxUint16 || len(l.labels) > math.MaxUint8 {
		return nil
	}
	values := make([]labelPlace, len(l.labels))
	at := l.insert - l.start
	for i, label := range l.labels {
		if bytes.IndexByte(label.value, '\\') >= 0 {
			return nil
		}
		start := at + len(label.name) + len(`="`)
		values[i] = labelPlace{uint16(at), uint16(start), uint16(start + len(label.value)), series.labelHash(label, under)}
		at = start + len(label.value) + len(`",`)
	}
	return values
}

// addUnseenNames adds to names those that samples of the declared family may have in
// addition to those of its lines.
func (s *shape) addUnseenNames(p *parser, names map[string]sampleName) {
	if s.current == nil {
		return
	}
	for _, suffix := range append([]string{""}, s.current.typ.suffixes(p.in)...) {
		name, _ := placeOf(p.opts.Format.syntax, s.current.typ, s.current.written, suffix)
		exposed := s.current.name + suffix
		if family, ok := p.byName[name]; ok && !names[exposed].isSeen {
			names[exposed] = sampleName{exposed: exposed, written: s.current.written + suffix, family: family}
		}
	}
}

// complete fills in what is derived from the lines. The catalog must be locked.
func (s *shape) complete(c *catalog) {
	claims := map[uint32]bool{}
	claimName := func(role claimRole, name string, isShared bool) {
		id := c.nameID(role, name)
		before, ok := claims[id]
		claims[id] = isShared && (before || !ok)
	}
	for i := range s.families {
		f := &s.families[i]
		f.shape, f.index, f.id = s, int32(i), c.families
		c.families++
		claimName(claimFamily, f.name, false)
		if f.declared == nil { // another family may declare it
			claimName(claimDeclared, f.name, false)
		}
	}
	for i := range s.names {
		name := &s.names[i]
		if name.isSeen {
			claimName(claimSample, name.written, false)
		}
		name.claim = c.nameID(claimSample, name.written)
	}
	if d := s.current; d != nil {
		claimName(claimDeclared, d.name, d.help != "" && d.unit == "")
		if d.written != d.name {
			claimName(claimDeclared, d.written, false)
		}
	}
	s.claims = make([]claim, 0, len(claims))
	for id, isShared := range claims {
		s.claims = append(s.claims, claim{id, isShared})
		if other := c.claimants[id]; other != nil && other.key != s.key {
			s.isContested.Store(true)
			other.isContested.Store(true)
		}
		c.claimants[id] = s
	}
}

// numberMetrics numbers the metrics of the lines, and determines whether those of each
// metric are together.
func (s *shape) numberMetrics(out syntax) {
	switch s.typ() {
	case untyped, gauge:
	case counter:
		s.hasParts = len(s.names) > len(s.families) // with _created
	default:
		s.hasParts = true
	}
	s.hasParts = s.hasParts && out == openMetrics
	s.isGrouped = true
	if !s.hasParts {
		return
	}
	s.byMetric = map[metricKey]int32{}
	last := int32(-1)
	for i := range s.lines {
		l := &s.lines[i]
		key := metricKey{l.family, l.metricHash}
		metric, ok := s.byMetric[key]
		if !ok {
			metric = int32(len(s.byMetric))
			s.byMetric[key] = metric
		}
		l.metric = metric
		s.isGrouped = s.isGrouped && metric >= last
		last = metric
	}
	s.metrics = len(s.byMetric)
}
