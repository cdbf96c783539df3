package exposition

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// declaration is what the HELP, TYPE and UNIT lines of a body say of one name.
type declaration struct {
	name    string
	written string // as the answer can carry it
	help    string // unescaped
	unit    string
	typ     metricType
}

// metadata takes the name and text of a HELP, TYPE or UNIT line. One byte separates
// them; in the text format any byte does.
func (p *parser) metadata(keyword string) error {
	var name []byte
	if p.peek() == '"' {
		var err error
		if name, err = p.quotedName(); err != nil {
			return err
		}
	} else if name = p.bareName(true); len(name) == 0 {
		return fmt.Errorf("want a metric name after %s, found %q", keyword, p.peek())
	}
	if p.in == openMetrics && (p.peek() != ' ' || bytes.IndexByte(p.text[p.pos:], '\n') < 0) {
		return fmt.Errorf("want a blank and a text after %s %.80s, and a line feed", keyword, name)
	}
	text := p.restOfLine()
	if len(text) > 0 {
		text = text[1:]
	}
	d := p.declared[string(name)]
	if d == nil {
		d = &declaration{name: string(name), written: string(p.escapeName(name))}
		p.declared[d.name] = d
	}
	return p.declare(d, keyword, text)
}

func (p *parser) declare(d *declaration, keyword string, text []byte) error {
	switch keyword {
	case "TYPE":
		typ, ok := parseMetricType(p.in, string(text))
		if !ok {
			return fmt.Errorf("TYPE of %.80s is %.80q, want one of %q", d.name, text, typeNames[p.in])
		}
		d.typ = typ
		p.current = d
	case "UNIT":
		if unit := string(text); unit != "" && !isUnitOf(unit, d.name) {
			return fmt.Errorf("UNIT of %.80s is %.80q, want the name's last part", d.name, unit)
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

// isUnitOf says whether the unit is the last part of the name, after an underscore.
func isUnitOf(unit, name string) bool {
	base, ok := strings.CutSuffix(name, unit)
	return ok && strings.HasSuffix(base, "_")
}

// unescapeHelp reads the text of a HELP line: the text format knows no escaped
// quotes there.
func unescapeHelp(in syntax, text []byte) string {
	if in == openMetrics || bytes.IndexByte(text, '\\') < 0 {
		return unescape(text)
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(string(text))
}

// appendHelp writes the text of a HELP line.
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
