package exposition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// parser fills a Body from the text in its scanner.
type parser struct {
	scanner
	in   syntax // of the body
	body *Body
	opts Options

	line       line
	byName     map[string]int32        // from the key of a family to its index in body.families
	lastFamily int32                   // family of the last sample: an index, as in byName
	declared   map[string]*declaration // by name: from all metadata lines of the name
	open       *declaration            // from the preceding metadata lines; nil if a sample came since
	current    *declaration            // from the last TYPE line; nil before the first
	series     seriesSet
	metrics    []uint64 // for OpenMetrics output: by sample, its metricHash
	exposed    int      // series so far, including duplicates
	renamed    int      // labels renamed to exported_<name> so far
	ended      bool     // # EOF was read
}

func newParser(raw []byte, in syntax, opts Options) *parser {
	return &parser{
		scanner:  scanner{text: raw, valid: utf8.Valid(raw)},
		in:       in,
		body:     &Body{format: opts.Format, raw: raw, conflicts: map[conflict]int{}},
		opts:     opts,
		byName:   make(map[string]int32),
		declared: make(map[string]*declaration),
		series:   newSeriesSet(),
	}
}

// typ returns the TYPE in effect, that of the last TYPE line.
func (p *parser) typ() metricType {
	if p.current == nil {
		return untyped
	}
	return p.current.typ
}

func (p *parser) parse() error {
	if p.in == protobuf {
		return p.parseProtobuf()
	}
	for n := 1; p.pos < len(p.text); n++ {
		if n%1024 == 0 && isDone(p.opts.Done) {
			return context.Canceled
		}
		at := p.pos
		if err := p.entry(); err != nil {
			if errors.Is(err, ErrTooManySamples) {
				return err
			}
			return &SyntaxError{Line: 1 + bytes.Count(p.text[:at], []byte("\n")), Err: err}
		}
	}
	if p.in == openMetrics && !p.ended {
		return &SyntaxError{Line: 1 + bytes.Count(p.text, []byte("\n")), Err: errors.New("the body does not end with # EOF")}
	}
	p.declareFamilies()
	if p.opts.Format.syntax == openMetrics {
		p.groupMetrics()
	}
	return nil
}

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// entry parses one line.
func (p *parser) entry() error {
	if p.in == openMetrics {
		return p.omEntry()
	}
	return p.textEntry()
}

// scan parses one sample line into p.line.
func (p *parser) scan() error {
	if p.in == openMetrics {
		return p.omSample(&p.line)
	}
	return p.textSample(&p.line)
}

// textEntry parses one line of the text format: a blank line, a comment, HELP, TYPE or
// a sample.
func (p *parser) textEntry() error {
	p.blanks()
	switch p.peek() {
	case '\n':
		p.pos++
		return nil
	case '#':
		return p.comment()
	}
	if err := p.scan(); err != nil {
		return err
	}
	return p.sample()
}

// comment parses a line of the text format that starts with #. HELP and TYPE are
// metadata only if they have at least one blank before and after them.
func (p *parser) comment() error {
	p.pos++
	if len(p.blanks()) > 0 {
		for _, keyword := range []string{"HELP", "TYPE"} {
			if rest, ok := bytes.CutPrefix(p.text[p.pos:], []byte(keyword)); ok && len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
				p.pos += len(keyword)
				p.blanks()
				return p.metadata(keyword)
			}
		}
	}
	p.restOfLine()
	return nil
}

// omEntry parses one line of OpenMetrics: HELP, TYPE, UNIT, # EOF or a sample.
func (p *parser) omEntry() error {
	if p.peek() != '#' {
		if err := p.scan(); err != nil {
			return err
		}
		return p.sample()
	}
	if end := p.text[p.pos:]; string(end) == "# EOF" || string(end) == "# EOF\n" {
		p.pos, p.ended = len(p.text), true
		return nil
	}
	for _, keyword := range []string{"HELP", "TYPE", "UNIT"} {
		if bytes.HasPrefix(p.text[p.pos:], []byte("# "+keyword+" ")) {
			p.pos += len("# HELP ")
			return p.metadata(keyword)
		}
	}
	line, _, _ := bytes.Cut(p.text[p.pos:], []byte("\n"))
	return fmt.Errorf("expected HELP, TYPE, UNIT or EOF after #, found %.80q", line)
}

// restOfLine consumes the rest of the line and its line feed, and returns it without
// the line feed.
func (p *parser) restOfLine() []byte {
	rest, _, _ := bytes.Cut(p.text[p.pos:], []byte("\n"))
	p.pos = min(p.pos+len(rest)+1, len(p.text))
	return rest
}

// sample adds the sample line in p.line to the body, or counts a conflict if the sample
// has to be dropped.
func (p *parser) sample() error {
	p.open = nil
	if err := p.expose(1); err != nil {
		return err
	}
	if p.opts.Format.syntax == protobuf {
		return p.addLineAsProtobuf()
	}
	l := &p.line
	l.exposed = l.name
	f, err := p.familyOf()
	if err != nil {
		return err
	}
	p.lastFamily = f
	family := p.body.families[f].name
	if err := p.giveWay(family); err != nil {
		return err
	}
	if isUp(l) {
		p.body.conflicts[conflict{UpConflict, upName}]++
		return nil
	}
	if !l.fit(p.in, p.opts.Format.syntax) {
		p.body.conflicts[conflict{TimestampConflict, family}]++
		return nil
	}
	s := sample{start: uint32(l.start), insert: uint32(l.insert), end: uint32(l.end), next: -1, under: p.typ()}
	if !l.canonical {
		start := len(p.body.rewritten)
		text, insert := l.appendTo(p.body.rewritten)
		p.body.rewritten = text
		s.start, s.insert, s.end = uint32(start), uint32(insert), uint32(len(text))
		s.isRewritten = true
	}
	if !p.series.add(p.body, f, &s, l) {
		p.body.conflicts[conflict{DuplicateConflict, family}]++
		return nil
	}
	p.body.add(f, s, len(l.name) != len(family))
	p.body.series++
	if p.opts.Format.syntax == openMetrics {
		p.metrics = append(p.metrics, p.series.metricHash(l, p.typ(), family))
	}
	return nil
}

// giveWay resolves the labels of the line in p.line, and counts the conflicts for the
// family.
func (p *parser) giveWay(family string) error {
	exported, err := p.resolveLabels()
	if exported > 0 {
		p.body.conflicts[conflict{LabelConflict, family}] += exported
		p.renamed += exported
	}
	return err
}

// expose counts series that the body exposes, including duplicates, and enforces
// MaxSamples.
func (p *parser) expose(series int) error {
	if p.exposed += series; p.opts.MaxSamples > 0 && p.exposed > p.opts.MaxSamples {
		return fmt.Errorf("%w: more than SAMPLE_LIMIT=%d", ErrTooManySamples, p.opts.MaxSamples)
	}
	return nil
}

// isUp reports whether the line is the target's own up{}. The proxy writes this series
// itself. A label with an empty value counts as absent.
func isUp(l *line) bool {
	if string(l.name) != upName {
		return false
	}
	for _, p := range l.labels {
		if len(p.value) > 0 {
			return false
		}
	}
	return true
}

// add appends a sample to the body and to its family f.
func (b *Body) add(f int32, s sample, isSuffixed bool) {
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
	fam.hasSuffixed = fam.hasSuffixed || isSuffixed
}

// family returns the index of the family with that key, and adds the family if it is
// new. In text and OpenMetrics, the key is the name.
func (p *parser) family(key string) (int32, error) {
	if f, ok := p.byName[key]; ok {
		return f, nil
	}
	f := int32(len(p.body.families))
	if f == maxFamilies {
		return 0, fmt.Errorf("%w: more than %d families", ErrTooManySamples, maxFamilies)
	}
	p.body.families = append(p.body.families, family{name: key, first: -1, last: -1})
	p.byName[key] = f
	return f, nil
}

// escapeName escapes a name for the output. A name that is valid without quotes is
// returned unchanged.
func (p *parser) escapeName(name []byte) []byte {
	if p.opts.Format.escaping == model.NoEscaping || isBareMetric(name) {
		return name
	}
	return []byte(model.EscapeName(string(name), p.opts.Format.escaping))
}
