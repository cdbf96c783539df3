package exposition

import "io"

// writeSize is how many bytes are collected before they are written. net/http makes two
// system calls per write, so small writes are expensive: with 128 KiB, a whole scrape
// takes a tenth longer.
const writeSize = 512 << 10

// WriteTo writes the output in pieces of about 512 KiB. The same parts give the same
// bytes.
func (m *Merged) WriteTo(w io.Writer) (int64, error) {
	out := writer{w: w, syntax: m.format.syntax}
	if m.pools != nil {
		buf := take(m.pools, &m.pools.bytes, writeSize+writeSize/4)
		out.buf = buf
		defer func() { give(m.pools, &m.pools.bytes, buf) }()
	}
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
	if len(f.sources) == 1 && !f.isOurs && f.sources[0].isPlain(f.typ) {
		out.visits(m.packed, f.sources[0].family, f.sources[0].members)
		return
	}
	for t := range m.turns(f) {
		p := &m.parts[t.part]
		if t.from == nil {
			out.sample([]byte(upLine(p.Up)), len(upName), p.Labels)
			continue
		}
		if t.from.isPlain(f.typ) {
			out.visits(m.packed, t.from.family, []member{t.member})
			continue
		}
		for s := range p.Body.each(t.from.family, t.at) {
			if t.from.name != "" && t.from.name != s.name() {
				continue
			}
			if s.under != f.typ && s.under.floatLabel() != "" {
				s.text, s.insert = withCanonicalFloat(out.syntax, s.text, s.under.floatLabel())
			}
			out.sample(s.text, s.insert, p.Labels)
		}
		if out.err != nil {
			return
		}
	}
}

// isPlain reports whether the lines are from packed bodies, and are all written
// unchanged under that TYPE.
func (s *selection) isPlain(typ metricType) bool {
	if s.family.shape == nil || s.name != "" {
		return false
	}
	under := s.family.shape.typ()
	return under == typ || under.floatLabel() == ""
}

func upLine(up bool) string {
	if up {
		return upName + " 1"
	}
	return upName + " 0"
}

// withCanonicalFloat rewrites a line as Prometheus would have read it in its body,
// under a histogram or summary, because it is written under another TYPE.
func withCanonicalFloat(in syntax, text []byte, label string) ([]byte, int) {
	l := mustScan(in, text)
	for i, p := range l.labels {
		if string(p.name) == label {
			l.labels[i].value = appendEscaped(nil, canonicalFloat(unescape(p.value)))
		}
	}
	return l.appendTo(nil)
}

// writer collects lines or messages and writes them in pieces. After an error it drops
// them.
type writer struct {
	w       io.Writer
	syntax  syntax
	buf     []byte
	variant []byte      // see unpacker.text
	places  []linePlace // see unpacker.ordered
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

// sample writes a canonical line with the labels of its target.
func (out *writer) sample(text []byte, insert int, labels Labels) {
	out.buf = appendLabelled(out.buf, text, insert, labels.text)
	out.buf = append(out.buf, '\n')
	out.flushIfFull()
}

// appendLabelled appends a canonical line, or its part before the value, with the
// labels inserted at insert: after the opening brace, after a quoted name, or in braces
// of their own.
func appendLabelled(dst, text []byte, insert int, labels []byte) []byte {
	dst = append(dst, text[:insert]...)
	if len(labels) > 0 {
		switch text[insert-1] {
		case '"':
			dst = append(dst, ',')
			dst = append(dst, labels...)
		case '{':
			dst = append(dst, labels...)
			if text[insert] != '}' {
				dst = append(dst, ',')
			}
		default:
			dst = append(dst, '{')
			dst = append(dst, labels...)
			dst = append(dst, '}')
		}
	}
	return append(dst, text[insert:]...)
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
