package exposition

import (
	"bytes"
	"io"
	"iter"
)

// writeSize is how many bytes are collected before they are written.
const writeSize = 64 << 10

// WriteTo writes the answer in pieces of about 64 KiB. The same parts give the
// same bytes.
func (m *Merged) WriteTo(w io.Writer) (int64, error) {
	out := writer{w: w, syntax: m.format.syntax, buf: make([]byte, 0, writeSize+writeSize/4)}
	for _, f := range m.families {
		if out.syntax == protobuf {
			m.writeProtobuf(&out, f)
		} else {
			m.writeText(&out, f)
		}
	}
	if out.syntax == openMetrics {
		out.buf = append(out.buf, "# EOF\n"...)
	}
	out.flush()
	return out.written, out.err
}

// writeText writes one family in text or OpenMetrics.
func (m *Merged) writeText(out *writer, f *mergedFamily) {
	out.metadata(f)
	for p, s := range m.samples(f) {
		if out.err != nil {
			return
		}
		if s == nil {
			out.sample([]byte(upLine(p.Up)), len(upName), p.Labels)
			continue
		}
		text, insert := p.Body.text(s), int(s.insert-s.start)
		if s.under != f.typ && s.under.floatLabel() != "" {
			text, insert = withCanonicalFloat(out.syntax, text, s.under.floatLabel())
		}
		out.sample(text, insert, p.Labels)
	}
}

// samples goes through the samples of a family, each with its part. In the family up
// a part's own sample, which is nil, stands before those of its body.
func (m *Merged) samples(f *mergedFamily) iter.Seq2[*Part, *sample] {
	return func(yield func(*Part, *sample) bool) {
		if f.name == upName && f.typ == gauge {
			m.ups(f, yield)
			return
		}
		for _, b := range f.blocks {
			if !m.block(b, yield) {
				return
			}
		}
	}
}

func (m *Merged) ups(f *mergedFamily, yield func(*Part, *sample) bool) {
	blocks := f.blocks
	for i := range m.parts {
		if m.parts[i].HasUp && !yield(&m.parts[i], nil) {
			return
		}
		if len(blocks) > 0 && blocks[0].part == i {
			if !m.block(blocks[0], yield) {
				return
			}
			blocks = blocks[1:]
		}
	}
}

func (m *Merged) block(b block, yield func(*Part, *sample) bool) bool {
	p := &m.parts[b.part]
	for s := range b.samples(p.Body) {
		if !yield(p, s) {
			return false
		}
	}
	return true
}

func upLine(up bool) string {
	if up {
		return upName + " 1"
	}
	return upName + " 0"
}

// withCanonicalFloat rewrites a line as Prometheus would have read it where it
// stood, under a histogram or summary, for a place under another TYPE.
func withCanonicalFloat(in syntax, text []byte, label string) ([]byte, int) {
	l := mustScan(in, text)
	for i, p := range l.labels {
		if string(p.name) == label {
			l.labels[i].value = appendEscaped(nil, canonicalFloat(unescape(p.value)))
		}
	}
	return l.appendTo(nil)
}

// writer collects lines or messages and writes them in pieces. After an error it
// does nothing.
type writer struct {
	w       io.Writer
	syntax  syntax
	buf     []byte
	written int64
	err     error
}

func (out *writer) metadata(f *mergedFamily) {
	name := []byte(f.name)
	if !isBareMetric(name) {
		name = appendQuoted(nil, f.name)
	}
	if f.help != "" {
		out.keyword("# HELP ", name)
		out.buf = appendHelp(out.buf, out.syntax, f.help)
		out.buf = append(out.buf, '\n')
	}
	out.keyword("# TYPE ", name)
	out.buf = append(out.buf, typeNames[out.syntax][f.typ]...)
	out.buf = append(out.buf, '\n')
	if f.unit != "" {
		out.keyword("# UNIT ", name)
		out.buf = append(out.buf, f.unit...)
		out.buf = append(out.buf, '\n')
	}
}

func (out *writer) keyword(keyword string, name []byte) {
	out.buf = append(out.buf, keyword...)
	out.buf = append(out.buf, name...)
	out.buf = append(out.buf, ' ')
}

// sample writes a canonical line with labels put in at insert: behind the brace
// that opens, behind a quoted name, or in braces of their own.
func (out *writer) sample(text []byte, insert int, labels Labels) {
	out.buf = append(out.buf, text[:insert]...)
	switch {
	case len(labels.text) == 0:
	case text[insert-1] == '"':
		out.buf = append(out.buf, ',')
		out.buf = append(out.buf, labels.text...)
	case text[insert-1] == '{':
		out.buf = append(out.buf, labels.text...)
		if !bytes.HasPrefix(text[insert:], []byte("}")) {
			out.buf = append(out.buf, ',')
		}
	default:
		out.buf = append(out.buf, '{')
		out.buf = append(out.buf, labels.text...)
		out.buf = append(out.buf, '}')
	}
	out.buf = append(out.buf, text[insert:]...)
	out.buf = append(out.buf, '\n')
	out.flushIfFull()
}

func (out *writer) flushIfFull() {
	if len(out.buf) >= writeSize {
		out.flush()
	}
}

func (out *writer) flush() {
	if out.err == nil && len(out.buf) > 0 {
		var n int
		n, out.err = out.w.Write(out.buf)
		out.written += int64(n)
	}
	out.buf = out.buf[:0]
}
