package exposition

import (
	"iter"
	"time"
)

// packed is a body in the form of the shapes of its families, and what they do not
// contain: values, and lines that deviate. Nothing is lost: appendBody restores the
// body.
type packed struct {
	catalog  *catalog
	target   uint64   // hash of the labels of its target
	visits   []visit  // from pools.visits
	chunks   [][]byte // from pools.bytes
	pools    *pools
	deviates bool      // see packedOps.deviates
	answered time.Time // when lastBodies got it
}

// size returns the memory that it takes, in bytes.
func (p *packed) size() int64 {
	size := bytesOf[visit](cap(p.visits))
	for _, c := range p.chunks {
		size += int64(cap(c))
	}
	return size
}

// release returns the memory to the pools.
func (p *packed) release() {
	for _, c := range p.chunks {
		give(p.pools, &p.pools.bytes, c)
	}
	if p.visits != nil {
		give(p.pools, &p.pools.visits, p.visits)
	}
	p.chunks, p.visits = nil, nil
}

// retire returns the memory to the pools. If the body deviates, it is kept instead, so
// that the next body of the target can be read along it.
func (p *packed) retire() {
	if !p.deviates {
		p.release()
		return
	}
	last := *p
	p.chunks, p.visits, p.deviates = nil, nil, false
	p.pools.last.put(&last)
}

// visit is the occurrence of a shape, usually of one family, in a body.
type visit struct {
	shape uint32 // index in catalog.shapes
	at    uint32 // where its operations begin: the chunk, and in the low bits the offset in the chunk
}

// placeBits is the number of low bits of visit.at that are the offset in the chunk.
const placeBits = 18

// Operations of a visit. Each one begins with two bytes: the kind in the low two bits,
// and a number in the others.
const (
	opEnd   = iota // the end of the visit
	opRun          // the number of consecutive lines of the shape; their tails
	opOther        // see below
	opExtra        // a line that the shape does not have; the number is the index of its family
)

// Numbers of opOther.
const (
	otherSkip     = iota // a varint: the number of the shape's line that comes next
	otherNoSample        // a string: bytes of the body that are not a sample
	otherVariant         // varints: the number of the shape's line, and how many values are replaced; these values; the tail
	otherOrder           // first of all: a string, the order in which the lines are written. See appendOrder
)

// maxRun is the largest number of an operation.
const maxRun = 1<<14 - 1

// A replaced value of a variant is two varints and a string. The varints are the
// distance from the end of the previous replaced value in the shape's line, and the
// length of the value there. The string is the value that replaces it. A string is
// stored after its length, a varint.

// A tail is the rest of a line after the blank that follows name and labels, including
// the line feed. It is stored after its length in one byte. A tail longer than maxTail,
// or one that is not written as received, is stored after longTail as two strings: as
// received and as written. The second one is empty if it equals the first.
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

// families iterates over the families of the shapes of all visits, each with visit.at.
// shapes are those of the catalog.
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

// hasSamples reports whether a visit has samples of a family of its shape.
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

// appendBody restores the body as it was received.
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
