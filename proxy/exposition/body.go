package exposition

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// MaxBody is the size, in bytes, of the largest body that can be indexed. Bodies that
// are read through shapes are not checked against it.
const MaxBody = 1 << 30

// maxFamilies is the maximum number of families in one body, far above what any program
// exposes. The time for merging depends on the number of families, not on the size of
// the bodies.
const maxFamilies = 100_000

// ErrTooManySamples is returned, wrapped, by Read for a body that exceeds
// Options.MaxSamples or has more than 100,000 families.
var ErrTooManySamples = errors.New("too many samples")

// A SyntaxError reports where a body breaks a rule of its format. Prometheus rejects
// such a body as a whole.
type SyntaxError struct {
	Line int // starts at 1; 0 if the body has no lines (protobuf)
	Err  error
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("line %d: %v", e.Line, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// Options control how a body is read.
type Options struct {
	Format      Format          // of the output that the body is for
	ContentType string          // of the body
	Fallback    string          // Content-Type to assume if it is missing or unknown; empty = none
	Labels      Labels          // of the target, to be added to each sample of the output
	MaxSamples  int             // 0 = no limit
	MaxText     int             // bytes of what is rewritten or converted of the body; 0 = no limit
	Done        <-chan struct{} // reading ends with context.Canceled when it is closed; nil = never

	// Reserve is called before memory is kept for the body. bytes is the additional
	// memory; it is negative for memory that is no longer kept. If it returns an error,
	// reading ends with this error. nil = no limit.
	Reserve func(bytes int64) error

	// Work is called by Reader.Read before the reference engine indexes a body of that many
	// bytes, which takes up to scratch bytes of memory in addition to what is reserved. It
	// waits until the work may start. done ends it. nil = no limit.
	Work func(bytes, scratch int64) (done func(), err error)
}

func (o *Options) reserve(bytes int64) error {
	if o.Reserve == nil || bytes == 0 {
		return nil
	}
	if err := o.Reserve(bytes); err != nil {
		return reserveError{err}
	}
	return nil
}

// reserveError is an error of Options.Reserve.
type reserveError struct{ error }

func (e reserveError) Unwrap() error { return e.error }

// Body is the exposition of one target, checked and indexed. It is immutable until
// Release, and holds the target's bytes or their packed form.
type Body struct {
	format    Format // of the output
	raw       []byte // as received, or as converted by textOfProtobuf
	rewritten []byte // the samples that are not in canonical form in raw
	samples   []sample
	families  []family // in order of first appearance
	packed    *packed  // the samples of a body that was read through shapes; else nil
	series    int      // number that Prometheus creates from the samples
	conflicts map[conflict]int
}

// sample locates one sample of a body, in 20 bytes. The offsets delimit its canonical
// line or, for protobuf output, its Metric message.
type sample struct {
	start, insert, end uint32     // insert: see appendLabelled
	next               int32      // the next sample of its family in this body, or -1
	under              metricType // the TYPE in effect at the line
	isRewritten        bool       // the offsets are into rewritten, not raw
}

// family is what one body contributes to one family of the output.
type family struct {
	name        string // as in its samples: foo_total for a counter, also in OpenMetrics
	typ         metricType
	declared    *declaration // the source of HELP and UNIT; nil if there is none
	first, last int32        // indexes of its samples; -1 if there is none
	under       typeSet      // the TYPEs in effect at its samples
	hasSuffixed bool         // some sample has a name other than the family's

	shape *shape // the shape that it belongs to; nil in an indexed body
	index int32  // in shape.families
	id    int    // number among all families of the shape's catalog
}

// Samples returns the number of samples that the body adds to the output, as Prometheus
// counts them. Dropped samples (see ConflictKind) do not count.
func (b *Body) Samples() int { return b.series }

// MergeMemory returns about how many bytes of memory Merge takes for the families of the body,
// if other bodies have them too. It takes 330 bytes for one that no other body has. Packed
// bodies share their families.
func (b *Body) MergeMemory() int64 { return 100 * int64(len(b.families)) }

// MergeTime returns about how long it takes to merge and write the families and conflicts of the
// body, on an ordinary machine and in the most expensive format. The time for the samples is in
// addition, and depends on the size of the body.
func (b *Body) MergeTime() time.Duration {
	visits := 0
	if b.packed != nil {
		visits = len(b.packed.visits)
	}
	return time.Duration(len(b.families)+len(b.conflicts)/3)*4*time.Microsecond + time.Duration(visits)*300*time.Nanosecond
}

// Read reads a body to its end, checks it, and indexes it for an output in
// Options.Format. An empty body is valid, whatever its Content-Type. Read returns the
// errors of r unchanged, a ContentTypeError, a *SyntaxError, an error that wraps
// ErrTooManySamples or ErrTooLarge, or context.Canceled if Options.Done was closed.
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
	t := &intake{budget: budget{opts: &opts}, in: in}
	if err := t.add(io.MultiReader(bytes.NewReader(first[:]), r)); err != nil {
		return nil, err
	}
	return index(t, opts)
}

// index checks and indexes a whole body.
func index(t *intake, opts Options) (*Body, error) {
	done, err := t.work()
	if err != nil {
		return nil, err
	}
	defer done()
	raw, in := t.raw, t.in
	opts.MaxText = min(cmp.Or(opts.MaxText, MaxBody), maxLine+maxExpansion*len(raw))
	if in == protobuf && opts.Format.syntax != protobuf {
		if raw, err = textOfProtobuf(t.raw, opts); err != nil {
			return nil, err
		}
		in = opts.Format.syntax
		if err := opts.reserve(-int64(cap(t.raw))); err != nil {
			return nil, err
		}
		t.raw = nil
	}
	p := newParser(raw, in, opts)
	if err := p.parse(); err != nil {
		return nil, err
	}
	if err := p.settle(); err != nil {
		return nil, err
	}
	return p.body, nil
}

// text returns the canonical line or the Metric message of a sample.
func (b *Body) text(s *sample) []byte {
	if s.isRewritten {
		return b.rewritten[s.start:s.end]
	}
	return b.raw[s.start:s.end]
}

// Release returns the body's memory to its Reader for reuse. The body must not be used
// afterwards. The call is optional.
func (b *Body) Release() {
	if b.packed != nil {
		b.packed.retire()
	}
}

// sampleText is one sample as it is written, without the labels of its target.
type sampleText struct {
	text   []byte     // the canonical line or the Metric message
	insert int        // where the labels are inserted: see appendLabelled
	under  metricType // the TYPE in effect at the line
}

// each iterates over the samples of a family of the body. at is visit.at or, in an
// indexed body, the index of the first sample. A text is valid only until the next
// iteration.
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

// name returns the name of a sample in text or OpenMetrics.
func (s sampleText) name() string {
	name := s.text[:s.insert]
	if name[0] == '{' { // {"quoted.name"
		return unescape(name[2 : len(name)-1])
	}
	return string(bytes.TrimSuffix(name, []byte("{")))
}
