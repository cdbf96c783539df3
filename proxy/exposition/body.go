package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// MaxBody is the largest body that can be indexed, in bytes.
const MaxBody = 1 << 30

// maxFamilies bounds the families of one body, far above what any program has:
// merging takes time by the family, not by the byte.
const maxFamilies = 100_000

// ErrTooManySamples is returned by Read for a body over Options.MaxSamples, or of
// more than 100,000 families.
var ErrTooManySamples = errors.New("too many samples")

// A SyntaxError says where a body breaks a rule of the format. Prometheus refuses
// such a body as a whole.
type SyntaxError struct {
	Line int // from 1; 0 where there are no lines
	Err  error
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("line %d: %v", e.Line, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// Options say how a body is read.
type Options struct {
	Format      Format          // of the answer that the body is for
	ContentType string          // of the body
	Fallback    string          // Content-Type to assume where it is missing or unknown; empty = none
	Labels      Labels          // of the body's target, to be put on each sample by Merge
	MaxSamples  int             // 0 = no limit
	Done        <-chan struct{} // reading ends with context.Canceled when it is closed; nil = never

	// Reserve is asked before memory for the body is kept, in bytes. Reading ends with
	// its error. nil = there is enough.
	Reserve func(bytes int64) error
}

func (o *Options) reserve(bytes int64) error {
	if o.Reserve == nil {
		return nil
	}
	return o.Reserve(bytes)
}

// Body is one target's answer, checked and indexed. Immutable; it keeps the
// answer's bytes alive.
type Body struct {
	format    Format // that of the answer
	raw       []byte // as it came
	rewritten []byte // the samples that are not in the answer's canonical form in raw
	samples   []sample
	families  []family // in order of first appearance
	packed    *packed  // the samples, in a body that was read through shapes; nil in others
	series    int      // that Prometheus makes of the samples
	conflicts map[conflict]int
}

// sample is one sample of a body: offsets, in 20 bytes. In text and OpenMetrics they
// are of its canonical line; in protobuf of its Metric message.
type sample struct {
	start, insert, end uint32     // insert: see writer.sample
	next               int32      // the next sample of its family in this body, or -1
	under              metricType // the TYPE that was in force at the line
	isRewritten        bool       // the offsets are of rewritten, not of raw
}

// family is what one body gives to one metric family of the answer.
type family struct {
	name        string // as its samples have it: foo_total for a counter, in OpenMetrics too
	typ         metricType
	declared    *declaration // where HELP and UNIT are from; nil if there is none
	first, last int32        // samples, in order; -1 if there is none
	under       typeSet      // the TYPEs that were in force at its samples
	hasSuffixed bool         // some sample has another name than the family

	shape *shape // whose family it is; nil in an indexed body
	index int32  // in shape.families
	id    int    // among all families of the shape's book
}

// Samples is the number of samples that the body adds to an answer, as Prometheus
// counts them: what it exposed, less duplicates.
func (b *Body) Samples() int { return b.series }

// Read reads a body to its end, checks it, and indexes it for an answer in
// Options.Format. An empty body is valid, whatever its Content-Type. It returns an
// error of r as it is, a ContentTypeError, a *SyntaxError, ErrTooManySamples, or
// context.Canceled if Options.Done was closed.
func Read(r io.Reader, opts Options) (*Body, error) {
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return &Body{format: opts.Format}, nil
		}
		return nil, err
	}
	in, err := syntaxOf(opts.ContentType, opts.Fallback)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.MultiReader(bytes.NewReader(first[:]), r))
	if err != nil {
		return nil, err
	}
	return index(raw, in, opts)
}

// index checks and indexes a whole body.
func index(raw []byte, in syntax, opts Options) (*Body, error) {
	if len(raw) > MaxBody {
		return nil, fmt.Errorf("a body of %d bytes is over the %d that can be indexed", len(raw), MaxBody)
	}
	if in == protobuf && opts.Format.syntax != protobuf {
		var err error
		if raw, err = textOfProtobuf(raw, opts.Format.syntax); err != nil {
			return nil, err
		}
		in = opts.Format.syntax
	}
	p := newParser(raw, in, opts)
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.body, nil
}

// text is the canonical line or the Metric message of a sample.
func (b *Body) text(s *sample) []byte {
	if s.isRewritten {
		return b.rewritten[s.start:s.end]
	}
	return b.raw[s.start:s.end]
}

// Release gives back the memory of the body, which must not be used any more. It may be
// left out.
func (b *Body) Release() {
	if b.packed != nil {
		b.packed.retire()
	}
}

// sampleText is one sample as it is written, but for its target's labels.
type sampleText struct {
	text   []byte     // the canonical line or the Metric message
	insert int        // where the labels come: see writer.sample
	under  metricType // the TYPE that was in force at the line
}

// each goes through the samples of a family of the body that stands at a place: that
// of a visit, or of an indexed body the first sample. A text is valid until the next
// one comes.
func (b *Body) each(f *family, at uint32) iter.Seq[sampleText] {
	return func(yield func(sampleText) bool) {
		if b.packed != nil {
			b.packed.each(f, at, yield)
			return
		}
		for i := int32(at); i >= 0; {
			s := &b.samples[i]
			if !yield(sampleText{b.text(s), int(s.insert - s.start), s.under}) {
				return
			}
			i = s.next
		}
	}
}

// name is the name of a sample in text and OpenMetrics.
func (s sampleText) name() string {
	name := s.text[:s.insert]
	if name[0] == '{' { // {"quoted.name"
		return unescape(name[2 : len(name)-1])
	}
	return string(bytes.TrimSuffix(name, []byte("{")))
}
