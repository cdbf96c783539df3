package exposition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// parser fills a Body from the text in its scanner.
type parser struct {
	scanner
	in   syntax // of the body
	body *Body
	opts Options

	line        line
	byName      map[string]int32        // from the key of a family to its index in body.families
	lastFamily  int32                   // family of the last sample: an index, as in byName
	declared    map[string]*declaration // by name: from all metadata lines of the name
	open        *declaration            // from the preceding metadata lines; nil if a sample came since
	current     *declaration            // from the last TYPE line; nil before the first
	series      seriesSet
	metrics     []uint64          // for OpenMetrics output: by sample, its metricHash; not counted
	budget                        // for what the body keeps
	checked     int               // offset up to which Done was checked
	seriesNames map[string][]byte // for protobuf output: see protoTarget.series
	exposed     int               // series so far, including duplicates
	exported    int               // labels renamed to exported_<name> so far
	ended       bool              // # EOF was read
}

func newParser(raw []byte, in syntax, opts Options) *parser {
	p := &parser{
		scanner:     scanner{text: raw, valid: utf8.Valid(raw)},
		in:          in,
		body:        &Body{format: opts.Format, raw: raw, conflicts: map[conflict]int{}},
		opts:        opts,
		byName:      make(map[string]int32),
		declared:    make(map[string]*declaration),
		series:      newSeriesSet(),
		seriesNames: make(map[string][]byte),
	}
	p.budget.opts = &p.opts
	return p
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
	for p.pos < len(p.text) {
		at := p.pos
		err := p.checkDone(at)
		if err == nil {
			err = p.entry()
		}
		if err == nil && p.pos-at > maxLine { // a label value may contain line feeds
			err = errLongLine
		}
		if err != nil {
			if isSyntax(err) {
				return &SyntaxError{Line: 1 + bytes.Count(p.text[:at], []byte("\n")), Err: err}
			}
			return err
		}
	}
	if p.in == openMetrics && !p.ended {
		return &SyntaxError{Line: 1 + bytes.Count(p.text, []byte("\n")), Err: errors.New("the body does not end with # EOF")}
	}
	p.declareFamilies()
	if p.opts.Format.syntax == openMetrics {
		return p.groupMetrics()
	}
	return nil
}

// doneEvery is after how many bytes of a body Done is checked.
const doneEvery = 16 << 10

// checkDone returns context.Canceled if Done is closed. at is how far the body is parsed.
func (p *parser) checkDone(at int) error {
	if at-p.checked < doneEvery {
		return nil
	}
	p.checked = at
	if isDone(p.opts.Done) {
		return context.Canceled
	}
	return nil
}

// isSyntax reports whether an error says that the body breaks a rule of its format, and not
// that it exceeds a limit or that reading has to end.
func isSyntax(err error) bool {
	var reserved reserveError
	return !errors.Is(err, ErrTooManySamples) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, context.Canceled) && !errors.As(err, &reserved)
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
		return p.conflict(UpConflict, upName, 1)
	}
	if !l.fit(p.in, p.opts.Format.syntax) {
		return p.conflict(TimestampConflict, family, 1)
	}
	s := sample{start: uint32(l.start), insert: uint32(l.insert), end: uint32(l.end), next: -1, under: p.typ()}
	if !p.series.add(l, s.under) {
		return p.conflict(DuplicateConflict, family, 1)
	}
	if !l.canonical {
		start := len(p.body.rewritten)
		if err := p.roomFor(l.maxSize()); err != nil {
			return err
		}
		text, insert := l.appendTo(p.body.rewritten)
		if len(text)-start > maxLine {
			return errLongLine
		}
		p.body.rewritten = text
		s.start, s.insert, s.end = uint32(start), uint32(insert), uint32(len(text))
		s.isRewritten = true
	}
	if err := p.add(f, s, len(l.name) != len(family)); err != nil {
		return err
	}
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
	if err != nil || exported == 0 {
		return err
	}
	p.exported += exported
	return p.conflict(LabelConflict, family, exported)
}

// conflict counts conflicts of a family.
func (p *parser) conflict(kind ConflictKind, family string, n int) error {
	c := conflict{kind, family}
	before := p.body.conflicts[c]
	p.body.conflicts[c] = before + n
	if before > 0 {
		return nil
	}
	return p.keep(conflictSize)
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
// itself.
func isUp(l *line) bool {
	return string(l.name) == upName && !l.hasLabels()
}

// hasLabels reports whether the line has labels. A label with an empty value counts as absent.
func (l *line) hasLabels() bool {
	return slices.ContainsFunc(l.labels, func(a pair) bool { return len(a.value) > 0 })
}

// roomFor makes room for a text in Body.rewritten.
func (p *parser) roomFor(size int) (err error) {
	if p.opts.MaxText > 0 && len(p.body.rewritten)+size > p.opts.MaxText {
		return textError(p.opts.MaxText)
	}
	p.body.rewritten, err = room(&p.budget, p.body.rewritten, size)
	return err
}

// add appends a sample to the body and to its family f.
func (p *parser) add(f int32, s sample, isSuffixed bool) (err error) {
	b := p.body
	if b.samples, err = room(&p.budget, b.samples, 1); err != nil {
		return err
	}
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
	return nil
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
	var err error
	if p.body.families, err = room(&p.budget, p.body.families, 1); err != nil {
		return 0, err
	}
	p.body.families = append(p.body.families, family{name: key, first: -1, last: -1})
	p.byName[key] = f
	return f, p.keep(int64(len(key)))
}

// escapeName escapes a name for the output. A name that is valid without quotes is
// returned unchanged.
func (p *parser) escapeName(name []byte) []byte {
	if p.opts.Format.escaping == model.NoEscaping || isBareMetric(name) {
		return name
	}
	return []byte(model.EscapeName(string(name), p.opts.Format.escaping))
}
