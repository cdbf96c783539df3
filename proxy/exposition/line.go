package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// pair is one label of a line. The name is unescaped. The value is as in the line:
// escaped, without its quotes.
type pair struct{ name, value []byte }

// line is one parsed sample line. Its slices point into the scanned text where
// possible. The next scan reuses labels.
type line struct {
	name      []byte // unescaped, in the form that the output can carry
	exposed   []byte // the name as in the body, unescaped
	labels    []pair
	value     []byte
	number    float64 // value as a number
	timestamp []byte  // as written; empty if there is none
	millis    int64   // the timestamp in milliseconds
	exemplar  []byte  // OpenMetrics: from # on, as in the body; empty if there is none
	start     int     // offset of the line, after leading blanks
	insert    int     // offset at which labels can be inserted: see appendLabelled
	at        int     // offset of the value
	end       int     // offset of the end of the line, before trailing blanks and the line feed
	canonical bool    // text[start:end] has the canonical form and can be copied
}

// scanner parses the text format with exactly the grammar of Prometheus's lexer
// (model/textparse promlex.l), except for two deliberate differences: blanks before a
// name are not part of it, and a NUL byte never ends the text. Its methods for
// OpenMetrics are in omline.go.
type scanner struct {
	text  []byte
	pos   int
	valid bool // the whole text is valid UTF-8, so that its parts need no check
}

// peek returns the byte at the position. At the end of the text it returns a line feed,
// because the last line feed may be missing.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return '\n'
}

// blanks skips spaces and tabs and returns them.
func (s *scanner) blanks() []byte {
	start := s.pos
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
	return s.text[start:s.pos]
}

// bareName consumes a name without quotes, and returns nothing if there is none. Only
// metric names may contain colons.
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

var errUnterminated = errors.New("unterminated quoted string")

// quoted consumes a quoted string and returns what is between the quotes, still
// escaped. It may contain raw line feeds, but not directly after a backslash.
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
			for s.peek() == 0 { // Prometheus's lexer ignores NUL bytes here
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

// textSample parses one sample line of the text format, including its line feed.
func (s *scanner) textSample(l *line) error {
	*l = line{labels: l.labels[:0], start: s.pos, canonical: true}
	if s.peek() != '{' {
		if l.name = s.bareName(true); len(l.name) == 0 {
			return fmt.Errorf("expected a metric name, found %q", s.peek())
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

// braces parses the content of the braces and the closing brace.
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
			return fmt.Errorf("expected a label name, found %q", s.peek())
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
		return errors.New("missing metric name")
	}
	return nil
}

var errSecondName = errors.New("more than one metric name")

// isAlone reports whether a quoted name has no value, and is therefore the metric name.
// It consumes a comma after the name.
func (s *scanner) isAlone() bool {
	if s.peek() == ',' {
		s.pos++
		return true
	}
	return s.peek() == '}'
}

// quotedName consumes a quoted metric or label name and returns it unescaped. It
// rejects a NUL byte: legal in a label value, it ends Prometheus's parse in a name. It
// does not check that the name is valid UTF-8, because a name in a HELP or TYPE line
// need not be.
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

// labelValue parses `="value"` after a label name and adds the label to the line.
func (s *scanner) labelValue(l *line, name []byte) error {
	if s.peek() != '=' {
		return fmt.Errorf("expected = after label %.80s, found %q", name, s.peek())
	}
	s.pos++
	l.canonical = len(s.blanks()) == 0 && l.canonical
	if s.peek() != '"' {
		return fmt.Errorf("expected a quoted value for label %.80s, found %q", name, s.peek())
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
	if len(l.labels) == maxLabels {
		return errLabels
	}
	l.labels = append(l.labels, pair{name, value})
	return nil
}

// valueAndTimestamp parses the rest of a line, including its line feed.
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
		return fmt.Errorf("expected a timestamp in milliseconds or the end of the line, found %q", s.peek())
	}
	s.pos++
	return nil
}

// parseFloat accepts what parseFloat of textparse accepts.
func parseFloat(value []byte) (float64, error) {
	// ParseFloat retains its argument only in an error, which is dropped here.
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(value), len(value)), 64)
	if err != nil || bytes.ContainsAny(value, "pP_") {
		return 0, fmt.Errorf("value %.80q is not a number", value)
	}
	return f, nil
}
