package exposition

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// declaration is the content of HELP, TYPE and UNIT lines of one name: of lines that
// follow each other, or of all lines of the name in a body, of which the last wins.
type declaration struct {
	name    string
	written string // as the output can carry it
	help    string // unescaped
	unit    string
	typ     metricType
	all     *declaration // of all lines of the name; nil in that one itself, and in one from protobuf
}

// metadata parses the name and text of a HELP, TYPE or UNIT line. One byte separates
// them; in the text format it can be any byte.
func (p *parser) metadata(keyword string) error {
	var name []byte
	if p.peek() == '"' {
		var err error
		if name, err = p.quotedName(); err != nil {
			return err
		}
	} else if name = p.bareName(true); len(name) == 0 {
		return fmt.Errorf("expected a metric name after %s, found %q", keyword, p.peek())
	}
	if p.in == openMetrics && (p.peek() != ' ' || bytes.IndexByte(p.text[p.pos:], '\n') < 0) {
		return fmt.Errorf("expected a space, a text and a line feed after %s %.80s", keyword, name)
	}
	text := p.restOfLine()
	if len(text) > 0 {
		text = text[1:]
	}
	d, err := p.declarationOf(name)
	if err != nil {
		return err
	}
	if err := p.declare(d, keyword, text); err != nil {
		return err
	}
	if err := p.declare(d.all, keyword, text); err != nil {
		return err
	}
	return p.keepDeclared(2 * int64(len(text)))
}

// declarationOf returns the declaration that a metadata line belongs to: that of the
// lines just before it if they have the same name, otherwise a new one. A body may have
// two families of one name: in OpenMetrics, every Go program has a gauge and a counter
// go_memstats_alloc_bytes, each with its own HELP.
func (p *parser) declarationOf(name []byte) (*declaration, error) {
	if d := p.open; d != nil && d.name == string(name) {
		return d, nil
	}
	all := p.declared[string(name)]
	if all == nil {
		all = &declaration{name: string(name), written: string(p.escapeName(name))}
		p.declared[all.name] = all
	}
	p.open = &declaration{name: all.name, written: all.written, all: all}
	return p.open, p.keepDeclared(2*declarationSize + int64(len(all.name)))
}

// keepDeclared reserves memory for declarations. A body for protobuf output does not keep
// them.
func (p *parser) keepDeclared(bytes int64) error {
	if p.opts.Format.syntax == protobuf {
		return nil
	}
	return p.keep(bytes)
}

// inherit fills in a HELP or UNIT that the declaration lacks from other lines of its
// name.
func (d *declaration) inherit() {
	if d.all == nil {
		return
	}
	d.help, d.unit = cmp.Or(d.help, d.all.help), cmp.Or(d.unit, d.all.unit)
}

func (p *parser) declare(d *declaration, keyword string, text []byte) error {
	switch keyword {
	case "TYPE":
		typ, ok := parseMetricType(p.in, string(text))
		if !ok {
			return fmt.Errorf("TYPE of %.80s is %.80q, expected one of %q", d.name, text, typeNames[p.in])
		}
		d.typ = typ
		if d.all != nil {
			p.current = d
		}
	case "UNIT":
		if unit := string(text); unit != "" && !isUnitOf(unit, d.name) {
			return fmt.Errorf("UNIT of %.80s is %.80q, expected the last part of the metric name", d.name, unit)
		}
		d.unit = string(text)
	case "HELP":
		if !utf8.Valid(text) {
			return fmt.Errorf("HELP of %.80s is not valid UTF-8: %.80q", d.name, text)
		}
		d.help = strings.ReplaceAll(unescapeHelp(p.in, text), "\r", "")
	}
	return nil
}

// isUnitOf reports whether the unit is the last part of the name, after an underscore.
func isUnitOf(unit, name string) bool {
	base, ok := strings.CutSuffix(name, unit)
	return ok && strings.HasSuffix(base, "_")
}

// unescapeHelp unescapes the text of a HELP line. The text format has no escaped quotes
// there.
func unescapeHelp(in syntax, text []byte) string {
	if in == openMetrics || bytes.IndexByte(text, '\\') < 0 {
		return unescape(text)
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(string(text))
}

// appendHelp appends the text of a HELP line, escaped.
func appendHelp(dst []byte, out syntax, help string) []byte {
	if out == openMetrics {
		return appendEscaped(dst, help)
	}
	for i := range len(help) {
		switch c := help[i]; c {
		case '\\':
			dst = append(dst, '\\', '\\')
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
