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
	byName     map[string]int32        // index into body.families
	lastFamily int32                   // of the last sample
	declared   map[string]*declaration // by name: what all lines say
	open       *declaration            // of the metadata line before, or nil if that was a sample
	current    *declaration            // of the last TYPE line, or nil
	series     seriesSet
	metrics    []uint64 // for OpenMetrics: of each sample, which metric it is of
	exposed    int      // samples so far, duplicates too
	ended      bool     // by # EOF
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

// typ is the TYPE in force: that of the last TYPE line.
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

// entry takes one line.
func (p *parser) entry() error {
	if p.in == openMetrics {
		return p.omEntry()
	}
	return p.textEntry()
}

// scan takes one sample line into p.line.
func (p *parser) scan() error {
	if p.in == openMetrics {
		return p.omSample(&p.line)
	}
	return p.textSample(&p.line)
}

// textEntry takes one line of the text format: blank, a comment, HELP, TYPE or a
// sample.
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

// comment takes a line of the text format that begins with #. HELP and TYPE are
// metadata only after at least one blank and before at least one.
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

// omEntry takes one line of OpenMetrics: HELP, TYPE, UNIT, the end or a sample.
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
	return fmt.Errorf("want HELP, TYPE, UNIT or the end after #, found %.80q", line)
}

// restOfLine takes what is left of the line, with its line feed.
func (p *parser) restOfLine() []byte {
	rest, _, _ := bytes.Cut(p.text[p.pos:], []byte("\n"))
	p.pos = min(p.pos+len(rest)+1, len(p.text))
	return rest
}

// sample adds the sample line that was scanned to the body, unless its series is
// there already.
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

// giveWay resolves the labels of the line that was scanned, of that family.
func (p *parser) giveWay(family string) error {
	exported, err := p.resolveLabels()
	if exported > 0 {
		p.body.conflicts[conflict{LabelConflict, family}] += exported
	}
	return err
}

// exported is how many labels gave way so far.
func (p *parser) exported() int {
	n := 0
	for c, count := range p.body.conflicts {
		if c.kind == LabelConflict {
			n += count
		}
	}
	return n
}

// expose counts series that the body exposes, duplicates too.
func (p *parser) expose(series int) error {
	if p.exposed += series; p.opts.MaxSamples > 0 && p.exposed > p.opts.MaxSamples {
		return fmt.Errorf("%w: over SAMPLE_LIMIT, which is %d", ErrTooManySamples, p.opts.MaxSamples)
	}
	return nil
}

// isUp says whether the line is the series up{} of its target, which is the
// proxy's to tell.
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

// add adds a sample to a family, as the next one of the body.
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

// family returns the index of the family of that key, its name in text and
// OpenMetrics, a new one if need be.
func (p *parser) family(key string) (int32, error) {
	if f, ok := p.byName[key]; ok {
		return f, nil
	}
	f := int32(len(p.body.families))
	if f == maxFamilies {
		return 0, fmt.Errorf("%w: over %d families", ErrTooManySamples, maxFamilies)
	}
	p.body.families = append(p.body.families, family{name: key, first: -1, last: -1})
	p.byName[key] = f
	return f, nil
}

// escapeName gives the name the form that the answer can carry. A name that can
// stand without quotes stays as it is.
func (p *parser) escapeName(name []byte) []byte {
	if p.opts.Format.escaping == model.NoEscaping || isBareMetric(name) {
		return name
	}
	return []byte(model.EscapeName(string(name), p.opts.Format.escaping))
}
