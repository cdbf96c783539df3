package exposition

import (
	"iter"
	"time"
)

// packed is a body as the shapes of its families, and what they do not tell: values,
// and lines that deviate. It loses nothing: from it the body can be written again.
type packed struct {
	catalog  *catalog
	target   uint64   // whose body it is
	visits   []visit  // of pools.visits
	chunks   [][]byte // of pools.bytes
	pools    *pools
	deviates bool // it is more than the lines of its shapes, one after the other
	answered time.Time
}

// size is the memory that it takes, in bytes.
func (p *packed) size() int64 {
	size := bytesOf[visit](cap(p.visits))
	for _, c := range p.chunks {
		size += int64(cap(c))
	}
	return size
}

// release gives the memory back.
func (p *packed) release() {
	for _, c := range p.chunks {
		give(p.pools, &p.pools.bytes, c)
	}
	if p.visits != nil {
		give(p.pools, &p.pools.visits, p.visits)
	}
	p.chunks, p.visits = nil, nil
}

// retire gives the memory back, or keeps it so that the next body of the target can be
// read along this one.
func (p *packed) retire() {
	if !p.deviates {
		p.release()
		return
	}
	last := *p
	p.chunks, p.visits, p.deviates = nil, nil, false
	p.pools.last.put(&last)
}

// visit is a family in a body.
type visit struct {
	shape uint32 // in the catalog
	at    uint32 // where its operations begin: a chunk, and a place in the chunk
}

// placeBits are the low bits of visit.at: the place in a chunk.
const placeBits = 18

// operations of a visit, each two bytes: the kind in the low two bits, a number in the
// others, and what the kind says.
const (
	opEnd   = iota // of the visit
	opRun          // so many lines of the shape follow each other; the tails
	opOther        // see below
	opExtra        // a line that the shape does not know, of the family of that number
)

// numbers of opOther
const (
	otherSkip     = iota // a varint: the number of the shape's line that comes next
	otherNoSample        // bytes of the body that are no sample
	otherVariant         // varints: the number of the shape's line, and how many values it replaces; these; the tail
	otherOrder           // before all others: in which order the lines are written. See appendOrder
)

// maxRun bounds the number of an operation.
const maxRun = 1<<14 - 1

// A value that a variant replaces is two varints, how many bytes behind the one before it
// stands and how long it is in the shape's line, and the string that stands there instead.

// A tail is what stands behind the blank after name and labels, with the line feed. It
// is stored behind its length in one byte. A longer one, and one that is written in
// another form than it came, is stored behind longTail as two strings; the second one is
// empty if it equals the first.
const (
	maxTail  = 250
	longTail = 255
)

// each is Body.each for a packed body.
func (p *packed) each(f *family, at uint32, yield func(sampleText) bool) {
	under := f.shape.typ()
	var text []byte
	u := p.unpack(f.shape, at)
	var places []linePlace
	for l := range u.ordered(&places) {
		if l.family != f.index {
			continue
		}
		s := sampleText{text: l.out, insert: l.insert, under: under}
		if l.known >= 0 {
			head, insert := f.shape.written(l.known)
			text = append(append(text[:0], head...), l.out...)
			s.text, s.insert = text, insert
		}
		s.text = s.text[:len(s.text)-1] // the line feed
		if !yield(s) {
			return
		}
	}
}

// families goes through the families of the visits' shapes, each with the place of its
// visit. shapes are those of the catalog.
func (p *packed) families(shapes []*shape) iter.Seq2[*family, uint32] {
	return func(yield func(*family, uint32) bool) {
		for _, v := range p.visits {
			families := shapes[v.shape].families
			for i := range families {
				if !yield(&families[i], v.at) {
					return
				}
			}
		}
	}
}

// hasSamples says whether a visit has samples of a family of its shape.
func (p *packed) hasSamples(f *family, at uint32) bool {
	u := p.unpack(f.shape, at)
	if len(f.shape.families) == 1 && u.startsWithSample() {
		return true
	}
	for l := (packedLine{}); u.line(&l); {
		if l.family == f.index {
			return true
		}
	}
	return false
}

// appendBody writes the body again, as it came.
func (p *packed) appendBody(dst []byte) []byte {
	shapes, _ := p.catalog.all()
	for _, v := range p.visits {
		s := shapes[v.shape]
		dst = append(dst, s.head...)
		u := p.unpack(s, v.at)
		var l packedLine
		for u.line(&l) {
			if l.known >= 0 {
				dst = append(dst, s.prefix(l.known)...)
			}
			dst = append(dst, l.raw...)
		}
	}
	return dst
}
