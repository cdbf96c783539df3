package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// parser fills a Body from the text in its scanner.
type parser struct {
	scanner
	body *Body
	opts Options

	line     line
	byName   map[string]int32 // index into body.families
	series   seriesSet
	typ      metricType // the TYPE in force: that of the last TYPE line
	declared int32      // the family of the last TYPE line, or -1
	exposed  int        // samples so far, duplicates too
}

func (p *parser) parse() error {
	for p.pos < len(p.text) {
		at := p.pos
		if err := p.entry(); err != nil {
			if errors.Is(err, ErrTooManySamples) {
				return err
			}
			return &SyntaxError{Line: 1 + bytes.Count(p.text[:at], []byte("\n")), Err: err}
		}
	}
	return nil
}

// entry takes one line: blank, a comment, HELP, TYPE or a sample.
func (p *parser) entry() error {
	p.blanks()
	switch p.peek() {
	case '\n':
		p.pos++
		return nil
	case '#':
		return p.comment()
	default:
		return p.sample()
	}
}

// comment takes a line that begins with #. HELP and TYPE are metadata only after
// at least one blank and before at least one.
func (p *parser) comment() error {
	p.pos++
	if len(p.blanks()) > 0 {
		for _, keyword := range []string{"HELP", "TYPE"} {
			if rest, ok := bytes.CutPrefix(p.text[p.pos:], []byte(keyword)); ok && len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
				p.pos += len(keyword)
				return p.metadata(keyword)
			}
		}
	}
	p.restOfLine()
	return nil
}

// restOfLine takes what is left of the line, with its line feed.
func (p *parser) restOfLine() []byte {
	rest, _, _ := bytes.Cut(p.text[p.pos:], []byte("\n"))
	p.pos = min(p.pos+len(rest)+1, len(p.text))
	return rest
}

// metadata takes the name and text of a HELP or TYPE line. One byte separates
// them, whatever it is.
func (p *parser) metadata(keyword string) error {
	p.blanks()
	var name []byte
	if p.peek() == '"' {
		var err error
		if name, err = p.quotedName(); err != nil {
			return err
		}
	} else if name = p.bareName(true); len(name) == 0 {
		return fmt.Errorf("want a metric name after %s, found %q", keyword, p.peek())
	}
	text := p.restOfLine()
	if len(text) > 0 {
		text = text[1:]
	}
	if keyword == "TYPE" {
		return p.typeLine(name, text)
	}
	if !utf8.Valid(text) {
		return fmt.Errorf("HELP of %s is not valid UTF-8: %q", name, text)
	}
	f := p.family(name)
	p.body.families[f].help = bytes.ReplaceAll(text, []byte("\r"), nil)
	return nil
}

func (p *parser) typeLine(name, text []byte) error {
	typ, ok := parseMetricType(string(text))
	if !ok {
		return fmt.Errorf("TYPE of %s is %q, want counter, gauge, histogram, summary or untyped", name, text)
	}
	p.typ, p.declared = typ, p.family(name)
	p.body.families[p.declared].typ = typ
	return nil
}

// sample takes a sample line and adds it to the body, unless its series is there
// already.
func (p *parser) sample() error {
	l := &p.line
	if err := p.scanner.sample(l); err != nil {
		return err
	}
	if p.exposed++; p.opts.MaxSamples > 0 && p.exposed > p.opts.MaxSamples {
		return ErrTooManySamples
	}
	if err := p.resolveLabels(); err != nil {
		return err
	}
	if isUp(l) {
		p.body.conflicts.Up++
		return nil
	}
	s := sample{start: uint32(l.start), insert: uint32(l.insert), end: uint32(l.end), next: -1, under: p.typ}
	if !l.canonical {
		start := len(p.body.rewritten)
		text, insert := l.appendTo(p.body.rewritten)
		p.body.rewritten = text
		s.start, s.insert, s.end = uint32(start), uint32(insert), uint32(len(text))
		s.isRewritten = true
	}
	if !p.series.add(p.body, &s, l) {
		p.body.conflicts.Duplicates++
		return nil
	}
	p.add(s, p.familyOf(l.name))
	return nil
}

// isUp says whether the line is the series up{} of its target, which is the
// proxy's to tell.
func isUp(l *line) bool {
	if string(l.name) != "up" {
		return false
	}
	for _, p := range l.labels {
		if len(p.value) > 0 {
			return false
		}
	}
	return true
}

// add adds a sample to a family, as the next one of the body.
func (p *parser) add(s sample, f int32) {
	b := p.body
	fam := &b.families[f]
	i := int32(len(b.samples))
	b.samples = append(b.samples, s)
	if fam.first < 0 {
		fam.first = i
	} else {
		b.samples[fam.last].next = i
	}
	fam.last = i
	fam.under = fam.under.with(s.under)
	fam.hasSuffixed = fam.hasSuffixed || len(p.line.name) != len(fam.name)
}

// family returns the index of the family of that name, a new one if need be.
func (p *parser) family(name []byte) int32 {
	if f, ok := p.byName[string(name)]; ok {
		return f
	}
	f := int32(len(p.body.families))
	p.body.families = append(p.body.families, family{name: string(name), first: -1, last: -1})
	p.byName[string(name)] = f
	return f
}

// familyOf returns the family of a sample: that of the TYPE in force if its name
// fits, else the one of its own name. Prometheus sees it in the same way: the
// type that it stores, and the buckets that it converts, follow the last TYPE.
func (p *parser) familyOf(name []byte) int32 {
	if p.declared < 0 {
		return p.family(name)
	}
	declared := &p.body.families[p.declared]
	suffix, ok := bytes.CutPrefix(name, []byte(declared.name))
	if !ok {
		return p.family(name)
	}
	for _, s := range p.typ.suffixes() {
		if string(suffix) == s {
			return p.declared
		}
	}
	f := p.family(name)
	if p.typ == counter && string(suffix) == "_total" && p.body.families[f].typ == untyped {
		// `# TYPE foo counter` over foo_total: the text format has no suffix
		// rule, so the family is foo_total, of the type that was meant for it.
		p.body.families[f].typ = counter
		if len(p.body.families[f].help) == 0 {
			p.body.families[f].help = p.body.families[p.declared].help
		}
	}
	return f
}
