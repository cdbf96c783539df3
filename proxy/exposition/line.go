package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// pair is one label of a line. The value is as it stands there, escaped, without
// its quotes. The name is unescaped.
type pair struct{ name, value []byte }

// line is one sample line, taken apart. Its slices point into the text that was
// scanned, where they can; labels is reused by the next scan.
type line struct {
	name      []byte // unescaped, as the answer can carry it
	exposed   []byte // the name as it came
	labels    []pair
	value     []byte
	number    float64 // that value is
	timestamp []byte  // as the format writes it, empty if there is none
	millis    int64   // the timestamp in milliseconds
	exemplar  []byte  // OpenMetrics: from # on, as it stands there; empty if there is none
	start     int     // of the text, after leading blanks
	insert    int     // where labels can be inserted into the text
	at        int     // of the text, where the value stands
	end       int     // of the text, before trailing blanks and the line feed
	canonical bool    // the text has the canonical form, and so can be copied
}

// scanner takes the text format apart, with the exact grammar of Prometheus's
// lexer (model/textparse promlex.l), but for two deliberate differences: blanks
// before a name are not part of it, and a NUL byte never ends the text. What it does
// for OpenMetrics stands in omline.go.
type scanner struct {
	text  []byte
	pos   int
	valid bool // the whole text is valid UTF-8: no part needs a check
}

// peek returns the byte at the position. The end of the text reads as a line
// feed: a missing last line feed is accepted.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return '\n'
}

// blanks skips blanks and tabs and returns them.
func (s *scanner) blanks() []byte {
	start := s.pos
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
	return s.text[start:s.pos]
}

// bareName takes a name without quotes; colons are for metric names only. It
// returns nothing if there is none.
func (s *scanner) bareName(colons bool) []byte {
	start := s.pos
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		if !isNameStart(c) && (!colons || c != ':') && (s.pos == start || !isDigit(c)) {
			break
		}
		s.pos++
	}
	return s.text[start:s.pos]
}

var errUnterminated = errors.New("quoted string does not end")

// quoted takes a quoted string and returns its inside. It may hold raw line feeds,
// but not directly after a backslash.
func (s *scanner) quoted() ([]byte, error) {
	s.pos++
	start := s.pos
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case '"':
			inside := s.text[start:s.pos]
			s.pos++
			return inside, nil
		case '\\':
			s.pos++
			for s.peek() == 0 { // Prometheus's lexer does not see NUL bytes here
				s.pos++
			}
			if s.peek() == '\n' {
				return nil, errUnterminated
			}
		}
		s.pos++
	}
	return nil, errUnterminated
}

// textSample takes one sample line of the text format, with its line feed.
func (s *scanner) textSample(l *line) error {
	*l = line{labels: l.labels[:0], start: s.pos, canonical: true}
	if s.peek() != '{' {
		if l.name = s.bareName(true); len(l.name) == 0 {
			return fmt.Errorf("want a metric name, found %q", s.peek())
		}
	}
	l.insert = s.pos
	gap := s.blanks()
	if s.peek() == '{' {
		l.canonical = len(gap) == 0
		s.pos++
		l.insert = s.pos
		if err := s.braces(l); err != nil {
			return err
		}
		gap = s.blanks()
	}
	if string(gap) != " " {
		l.canonical = false
	}
	return s.valueAndTimestamp(l)
}

// braces takes what stands between the braces, and the closing one.
func (s *scanner) braces(l *line) error {
	named := len(l.name) > 0
	if len(s.blanks()) > 0 {
		l.canonical = false
	}
	for s.peek() != '}' {
		var name []byte
		var err error
		isQuoted := s.peek() == '"'
		if isQuoted {
			l.canonical = false
			if name, err = s.quotedName(); err != nil {
				return err
			}
			if len(name) == 0 || !utf8.Valid(name) {
				return fmt.Errorf("name %.80q is empty or not valid UTF-8", name)
			}
		} else if name = s.bareName(false); len(name) == 0 {
			return fmt.Errorf("want a label name, found %q", s.peek())
		}
		l.canonical = len(s.blanks()) == 0 && l.canonical
		if isQuoted && s.isAlone() {
			if named {
				return errSecondName
			}
			named, l.name = true, name
			s.blanks()
			continue
		}
		if err := s.labelValue(l, name); err != nil {
			return err
		}
		l.canonical = len(s.blanks()) == 0 && l.canonical
		switch s.peek() {
		case ',':
			s.pos++
			if len(s.blanks()) > 0 || s.peek() == '}' {
				l.canonical = false
			}
		case '}':
		default: // Prometheus accepts a missing comma
			l.canonical = false
		}
	}
	s.pos++
	if !named {
		return errors.New("no metric name")
	}
	return nil
}

var errSecondName = errors.New("a second metric name")

// isAlone says whether a quoted name has no value, and so is the metric's, and takes
// the comma behind it.
func (s *scanner) isAlone() bool {
	if s.peek() == ',' {
		s.pos++
		return true
	}
	return s.peek() == '}'
}

// quotedName takes a metric or label name in quotes and returns it unescaped. A NUL
// byte, legal in a label value, ends Prometheus's parse in a name. It does not check
// that the name is valid UTF-8: that of a HELP or TYPE line need not be.
func (s *scanner) quotedName() ([]byte, error) {
	inside, err := s.quoted()
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(inside, 0) >= 0 {
		return nil, fmt.Errorf("NUL byte in name %.80q", inside)
	}
	if bytes.IndexByte(inside, '\\') < 0 {
		return inside, nil
	}
	return []byte(unescape(inside)), nil
}

// labelValue takes `="value"` after a label name.
func (s *scanner) labelValue(l *line, name []byte) error {
	if s.peek() != '=' {
		return fmt.Errorf("want = after label %.80s, found %q", name, s.peek())
	}
	s.pos++
	l.canonical = len(s.blanks()) == 0 && l.canonical
	if s.peek() != '"' {
		return fmt.Errorf("want a quoted value for label %.80s, found %q", name, s.peek())
	}
	value, err := s.quoted()
	if err != nil {
		return fmt.Errorf("value of label %.80s: %w", name, err)
	}
	if !s.valid && !utf8.Valid(value) {
		return fmt.Errorf("value of label %.80s is not valid UTF-8: %.80q", name, value)
	}
	if bytes.IndexByte(value, '\n') >= 0 {
		l.canonical = false
	}
	l.labels = append(l.labels, pair{name, value})
	return nil
}

// valueAndTimestamp takes the rest of a line, with its line feed.
func (s *scanner) valueAndTimestamp(l *line) error {
	start := s.pos
	for c := s.peek(); c != ' ' && c != '\t' && c != '\n' && c != '{'; c = s.peek() {
		s.pos++
	}
	l.value, l.at, l.end = s.text[start:s.pos], start, s.pos
	var err error
	if l.number, err = parseFloat(l.value); err != nil {
		return err
	}
	gap := s.blanks()
	start = s.pos
	for isDigit(s.peek()) {
		s.pos++
	}
	if s.pos > start {
		l.timestamp, l.end = s.text[start:s.pos], s.pos
		if l.millis, err = strconv.ParseInt(string(l.timestamp), 10, 64); err != nil {
			return fmt.Errorf("timestamp %.80s is out of range", l.timestamp)
		}
		if string(gap) != " " {
			l.canonical = false
		}
		s.blanks()
	}
	if s.peek() != '\n' {
		return fmt.Errorf("want a timestamp in milliseconds or the end of the line, found %q", s.peek())
	}
	s.pos++
	return nil
}

// parseFloat accepts what textparse parseFloat accepts.
func parseFloat(value []byte) (float64, error) {
	// ParseFloat keeps its argument in an error only, which is not kept here.
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(value), len(value)), 64)
	if err != nil || bytes.ContainsAny(value, "pP_") {
		return 0, fmt.Errorf("value %.80q is not a number", value)
	}
	return f, nil
}
