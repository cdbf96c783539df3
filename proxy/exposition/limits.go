package exposition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// Limits that Prometheus does not have. They are far above what any program exposes, and bound
// the memory and the time that one body can take.
const (
	maxLine     = 1 << 20 // bytes of a line, as received and as written, and of a Metric message
	maxLabels   = 10_000  // labels of a line; labels, buckets and other messages in a Metric message
	maxComments = 8 << 20 // bytes of the lines of a body that are not samples

	// How many times larger than the body its text may be that is rewritten or converted. A
	// protobuf bucket of 15 bytes becomes a line with the name and all labels.
	maxExpansion = 32
)

// ErrTooLarge is returned, wrapped, by Read for a body that exceeds Options.MaxText or 32 times
// its size when it is rewritten, or that has a line of more than 1 MiB or 10,000 labels, a
// Metric of more than 1 MiB or 10,000 messages, or more than 8 MiB of comments, metadata and
// empty lines.
var ErrTooLarge = errors.New("too large")

var (
	errLongLine = fmt.Errorf("%w: a line, or a Metric message, of more than %d bytes", ErrTooLarge, maxLine)
	errLabels   = fmt.Errorf("%w: a line of more than %d labels, or a Metric message of more than %[2]d labels, buckets and other messages", ErrTooLarge, maxLabels)
	errComments = fmt.Errorf("%w: more than %d bytes of comments, metadata and empty lines", ErrTooLarge, maxComments)
)

// budget reserves memory for one body. It collects small amounts.
type budget struct {
	opts *Options
	owed int64 // not reserved yet
}

// owing is the amount, in bytes, from which memory is reserved.
const owing = 16 << 10

// keep reserves memory that the body keeps, in bytes.
func (b *budget) keep(bytes int64) error {
	if b.owed += bytes; -owing < b.owed && b.owed < owing {
		return nil
	}
	return b.settle()
}

// settle reserves what is owed.
func (b *budget) settle() error {
	owed := b.owed
	b.owed = 0
	return b.opts.reserve(owed)
}

// room returns s with room for n more elements, whose memory it reserves. The capacity grows by
// a quarter, so it depends on the number of elements only.
func room[T any](b *budget, s []T, n int) ([]T, error) {
	if len(s)+n <= cap(s) {
		return s, nil
	}
	return resize(b, s, max(64, cap(s)+cap(s)/4, len(s)+n))
}

// resize returns a copy of s with that capacity, for which it reserves memory instead.
func resize[T any](b *budget, s []T, capacity int) ([]T, error) {
	before, after := bytesOf[T](cap(s)), bytesOf[T](capacity)
	if after < manyBytes {
		if err := b.keep(after - before); err != nil {
			return s, err
		}
		return append(make([]T, 0, capacity), s...), nil
	}
	if err := b.keep(after); err != nil { // both exist while it is copied
		return s, err
	}
	return append(make([]T, 0, capacity), s...), b.keep(-before)
}

// manyBytes is the size from which memory that is copied counts while it is copied.
const manyBytes = 4 << 20

// intake collects a whole body for the reference engine.
type intake struct {
	budget
	in       syntax
	raw      []byte
	line     int // offset at which the last line begins
	samples  int // lines that are probably samples
	comments int // bytes of the other lines
}

// add reads src to its end.
func (t *intake) add(src io.Reader) error {
	for {
		if isDone(t.opts.Done) {
			return context.Canceled
		}
		var err error
		if len(t.raw) == cap(t.raw) {
			capacity := max(4<<10, 2*cap(t.raw))
			if most := t.opts.MaxText + 1; most > len(t.raw) { // a larger body is not accepted
				capacity = min(capacity, most)
			}
			if t.raw, err = resize(&t.budget, t.raw, capacity); err != nil {
				return err
			}
		}
		n, readErr := src.Read(t.raw[len(t.raw):cap(t.raw)])
		t.raw = t.raw[:len(t.raw)+n]
		switch err = t.check(n); {
		case err != nil:
			return err
		case errors.Is(readErr, io.EOF):
			if cap(t.raw) > len(t.raw)+len(t.raw)/4 {
				t.raw, err = resize(&t.budget, t.raw, len(t.raw))
			}
			return err
		case readErr != nil:
			return readErr
		}
	}
}

// check checks the limits of the lines in the last n bytes.
func (t *intake) check(n int) error {
	if len(t.raw) > MaxBody {
		return fmt.Errorf("%w: a body of more than %d bytes", ErrTooLarge, MaxBody)
	}
	if t.in == protobuf {
		return nil
	}
	for at := len(t.raw) - n; ; {
		length := bytes.IndexByte(t.raw[at:], '\n')
		if length < 0 {
			break
		}
		at += length + 1
		switch t.raw[t.line] {
		case '#', ' ', '\t', '\n':
			t.comments += at - t.line
		default:
			t.samples++
		}
		if at-t.line > maxLine {
			return errLongLine
		}
		t.line = at
	}
	switch {
	case len(t.raw)-t.line > maxLine:
		return errLongLine
	case t.comments > maxComments:
		return errComments
	}
	return nil
}

// checkLines checks the length of each line. The last one may be incomplete.
func checkLines(lines []byte) error {
	for line := range bytes.Lines(lines) {
		if len(line) > maxLine {
			return errLongLine
		}
	}
	return nil
}

// scratch returns about how many bytes of memory indexing takes in addition to what is kept.
func (t *intake) scratch(out syntax) int64 {
	perSample := int64(80) // the sets of series and families
	if out == openMetrics {
		perSample = 150 // and of metrics
	}
	samples := int64(t.samples) + 1
	if t.in == protobuf { // the shortest Metric with a label
		samples = int64(len(t.raw)/12) + 1
	}
	return perSample*samples + 4*int64(t.comments) // and of declarations
}

// work waits until the reference engine may index the body. done ends the work.
func (t *intake) work() (done func(), err error) {
	if err := t.settle(); err != nil {
		return nil, err
	}
	if t.opts.Work == nil {
		return func() {}, nil
	}
	return t.opts.Work(int64(len(t.raw)), t.scratch(t.opts.Format.syntax))
}

// limitedText collects text of at most max bytes, for which it reserves memory.
type limitedText struct {
	budget
	buf []byte
	max int
}

func (t *limitedText) Write(p []byte) (int, error) {
	if len(t.buf)+len(p) > t.max {
		return 0, textError(t.max)
	}
	var err error
	if t.buf, err = room(&t.budget, t.buf, len(p)); err != nil {
		return 0, err
	}
	t.buf = append(t.buf, p...)
	return len(p), nil
}

func textError(limit int) error {
	return fmt.Errorf("%w: more than %d bytes when written in the format of the output (at most BODY_SIZE_LIMIT, and about %d times the size of the body)", ErrTooLarge, limit, maxExpansion)
}

// Memory that the body keeps in addition to its texts, in bytes.
const (
	declarationSize = int64(unsafe.Sizeof(declaration{}))
	conflictSize    = 80
)
