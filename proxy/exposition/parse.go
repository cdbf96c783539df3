package exposition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"
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
