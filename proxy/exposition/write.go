package exposition

import (
	"bytes"
	"io"
)

// ContentType is that of what Merged.WriteTo writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// writeSize is how many bytes are collected before they are written.
const writeSize = 64 << 10

// WriteTo writes the answer in pieces of about 64 KiB. The same parts give the
// same bytes.
func (m *Merged) WriteTo(w io.Writer) (int64, error) {
	out := writer{w: w, buf: make([]byte, 0, writeSize+writeSize/4)}
	for i := range m.families {
		f := &m.families[i]
		out.metadata(f)
		m.samples(&out, f)
	}
	out.flush()
	return out.written, out.err
}

func (m *Merged) samples(out *writer, f *mergedFamily) {
	blocks := f.blocks
	for i, p := range m.parts {
		if f.name == upName && p.HasUp {
			out.sample([]byte(upLine(p.Up)), len(upName), p.Labels)
		}
		if len(blocks) == 0 || blocks[0].part != i {
			continue
		}
		for s := range blocks[0].samples(p.Body) {
			text, insert := p.Body.text(s), int(s.insert-s.start)
			if s.under != f.typ && s.under.floatLabel() != "" {
				text, insert = withCanonicalFloat(text, s.under.floatLabel())
			}
			out.sample(text, insert, p.Labels)
		}
		blocks = blocks[1:]
	}
}

func upLine(up bool) string {
	if up {
		return upName + " 1"
	}
	return upName + " 0"
}

// withCanonicalFloat rewrites a line as Prometheus would have read it where it
// stood, under a histogram or summary, for a place under another TYPE.
func withCanonicalFloat(text []byte, label string) ([]byte, int) {
	l := mustScan(text)
	for i, p := range l.labels {
		if string(p.name) == label {
			l.labels[i].value = appendEscaped(nil, canonicalFloat(unescape(p.value)))
		}
	}
	return l.appendTo(nil)
}

// writer collects lines and writes them in pieces. After an error it does nothing.
type writer struct {
	w       io.Writer
	buf     []byte
	written int64
	err     error
}

func (out *writer) metadata(f *mergedFamily) {
	name := []byte(f.name)
	if !isBareMetric(name) {
		name = appendQuoted(nil, f.name)
	}
	if len(f.help) > 0 {
		out.buf = append(out.buf, "# HELP "...)
		out.buf = append(out.buf, name...)
		out.buf = append(out.buf, ' ')
		out.buf = append(out.buf, f.help...)
		out.buf = append(out.buf, '\n')
	}
	out.buf = append(out.buf, "# TYPE "...)
	out.buf = append(out.buf, name...)
	out.buf = append(out.buf, ' ')
	out.buf = append(out.buf, f.typ.String()...)
	out.buf = append(out.buf, '\n')
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
