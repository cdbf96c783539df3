package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxBody is the largest body that can be indexed, in bytes.
const MaxBody = 1 << 30

// ErrTooManySamples is returned by Read for a body over Options.MaxSamples.
var ErrTooManySamples = errors.New("too many samples")

// A SyntaxError says where a body breaks a rule of the format. Prometheus refuses
// such a body as a whole.
type SyntaxError struct {
	Line int // from 1
	Err  error
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *SyntaxError) Unwrap() error { return e.Err }

// Options say how a body is read.
type Options struct {
	Labels     Labels // of the body's target, to be put on each sample by Merge
	MaxSamples int    // 0 = no limit
}

// Body is one target's answer, checked and indexed. Immutable; it keeps the
// answer's bytes alive.
type Body struct {
	raw       []byte // as it came
	rewritten []byte // the lines that are not in the canonical form in raw
	samples   []sample
	families  []family // in order of first appearance
	conflicts Conflicts
}

// sample is one sample of a body: offsets, in 20 bytes.
type sample struct {
	start, insert, end uint32     // of its canonical line; insert: see appendInjected
	next               int32      // the next sample of its family in this body, or -1
	under              metricType // the TYPE that was in force at the line
	isRewritten        bool       // the offsets are of rewritten, not of raw
}

// family is what one body says of one metric family.
type family struct {
	name        string
	help        []byte // escaped as in the text format; empty if there is none
	typ         metricType
	first, last int32   // samples, in order; -1 if there is none
	under       typeSet // the TYPEs that were in force at its samples
	hasSuffixed bool    // some sample has another name than the family
}

// Samples is the number of samples that the body adds to an answer: what it
// exposed, less duplicates.
func (b *Body) Samples() int { return len(b.samples) }

// Len is the length of the answer in bytes, as it came (decoded).
func (b *Body) Len() int { return len(b.raw) }

// Conflicts counts what reading had to resolve within the body.
func (b *Body) Conflicts() Conflicts { return b.conflicts }

// Read reads a body in the text format 0.0.4 or 1.0.0 to its end, checks it and
// indexes it. An empty body is valid. It returns an error of r as it is, a
// *SyntaxError, or ErrTooManySamples.
func Read(r io.Reader, opts Options) (*Body, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxBody {
		return nil, fmt.Errorf("a body of %d bytes is over the %d that can be indexed", len(raw), MaxBody)
	}
	p := parser{
		scanner:  scanner{text: raw, valid: utf8.Valid(raw)},
		body:     &Body{raw: raw},
		opts:     opts,
		byName:   make(map[string]int32),
		series:   newSeriesSet(),
		declared: -1,
	}
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.body, nil
}

// text is the canonical line of a sample.
func (b *Body) text(s *sample) []byte {
	if s.isRewritten {
		return b.rewritten[s.start:s.end]
	}
	return b.raw[s.start:s.end]
}

// name is the name of a sample.
func (b *Body) name(s *sample) string {
	from := b.raw
	if s.isRewritten {
		from = b.rewritten
	}
	name := from[s.start:s.insert]
	if name[0] == '{' { // {"quoted.name"
		return unescape(name[2 : len(name)-1])
	}
	return string(bytes.TrimSuffix(name, []byte("{")))
}
