package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// omSample parses one sample line of OpenMetrics, including its line feed, by the
// grammar of Prometheus's lexer (model/textparse openmetricslex.l). It is stricter than
// the text format: exactly one space between tokens and none elsewhere, commas between
// labels (a trailing one is allowed), no raw line feed in a label value. A line is
// therefore canonical unless it has quoted names or a trailing comma.
func (s *scanner) omSample(l *line) error {
	*l = line{labels: l.labels[:0], start: s.pos, canonical: true}
	if s.peek() != '{' {
		if l.name = s.bareName(true); len(l.name) == 0 {
			return fmt.Errorf("expected a metric name, found %q", s.peek())
		}
	}
	l.insert = s.pos
	if s.peek() == '{' {
		s.pos++
		l.insert = s.pos
		if err := s.omBraces(l, false); err != nil {
			return err
		}
		if len(l.name) == 0 {
			return errors.New("missing metric name")
		}
	}
	return s.omTail(l)
}

// omTail parses what follows name and labels, including the line feed: a value, and
// optionally a timestamp and an exemplar.
func (s *scanner) omTail(l *line) error {
	l.at = s.pos + 1
	var err error
	if l.value, l.number, err = s.omFloat(); err != nil {
		return err
	}
	if s.peek() == ' ' && !s.atExemplar() {
		if l.timestamp, l.millis, err = s.omTimestamp(); err != nil {
			return err
		}
	}
	if s.atExemplar() {
		if err := s.omExemplar(l); err != nil {
			return err
		}
	}
	l.end = s.pos
	return s.omLineFeed()
}

// omBraces parses the content of the braces and the closing brace. The labels of an
// exemplar are checked, but not kept.
func (s *scanner) omBraces(l *line, ofExemplar bool) error {
	named := len(l.name) > 0 || ofExemplar
	for s.peek() != '}' {
		var name []byte
		var err error
		isQuoted := s.peek() == '"'
		switch {
		case isQuoted:
			l.canonical = l.canonical && ofExemplar
			name, err = s.quotedName()
		default:
			name = s.bareName(false)
		}
		switch {
		case err != nil:
			return err
		case len(name) == 0 && (!isQuoted || !ofExemplar) || !utf8.Valid(name): // Prometheus accepts "" in an exemplar
			return fmt.Errorf("expected a label name, found %q", s.peek())
		case ofExemplar && bytes.IndexByte(name, '\n') >= 0:
			return errors.New("label name contains a raw line feed")
		}
		if isQuoted && s.isAlone() {
			if named {
				return errSecondName
			}
			named, l.name = true, name
			continue
		}
		if err := s.omLabel(l, name, ofExemplar); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
			l.canonical = l.canonical && (ofExemplar || s.peek() != '}')
		case '}':
		default:
			return fmt.Errorf("expected a comma or } after label %.80s, found %q", name, s.peek())
		}
	}
	s.pos++
	return nil
}

// omLabel parses `="value"` after a label name.
func (s *scanner) omLabel(l *line, name []byte, ofExemplar bool) error {
	labels := l.labels
	if !bytes.HasPrefix(s.text[s.pos:], []byte(`="`)) {
		return fmt.Errorf("expected = and a quoted value after label %.80s, found %q", name, s.peek())
	}
	if err := s.labelValue(l, name); err != nil {
		return err
	}
	if value := l.labels[len(labels)].value; bytes.IndexByte(value, '\n') >= 0 {
		return fmt.Errorf("value of label %.80s contains a raw line feed", name)
	}
	if !ofExemplar {
		return nil
	}
	if bytes.IndexByte(l.labels[len(labels)].value, 0) >= 0 {
		return fmt.Errorf("NUL byte in the value of label %.80s", name)
	}
	l.labels = labels
	return nil
}

// omToken consumes a space and the token after it, which ends at the next space or line
// feed. want describes the token in errors.
func (s *scanner) omToken(want string) ([]byte, error) {
	if s.peek() != ' ' {
		return nil, fmt.Errorf("expected one space and %s, found %q", want, s.peek())
	}
	s.pos++
	start := s.pos
	for c := s.peek(); c != ' ' && c != '\n'; c = s.peek() {
		s.pos++
	}
	return s.text[start:s.pos], nil
}

func (s *scanner) omFloat() (value []byte, number float64, err error) {
	if value, err = s.omToken("a number"); err != nil {
		return nil, 0, err
	}
	number, err = parseFloat(value)
	return value, number, err
}

// omTimestamp parses a timestamp, which is in seconds, and also returns it in
// milliseconds.
func (s *scanner) omTimestamp() (timestamp []byte, millis int64, err error) {
	timestamp, seconds, err := s.omFloat()
	if err != nil {
		return nil, 0, err
	}
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return nil, 0, fmt.Errorf("timestamp %.80s is not a finite number", timestamp)
	}
	return timestamp, millisOf(seconds), nil
}

func (s *scanner) atExemplar() bool {
	return bytes.HasPrefix(s.text[min(s.pos, len(s.text)):], []byte(" # {"))
}

// omExemplar parses an exemplar: labels, a value and optionally a timestamp.
func (s *scanner) omExemplar(l *line) error {
	start := s.pos + 1
	s.pos += len(" # {")
	if err := s.omBraces(l, true); err != nil {
		return fmt.Errorf("exemplar: %w", err)
	}
	if _, _, err := s.omFloat(); err != nil {
		return fmt.Errorf("exemplar: %w", err)
	}
	if s.peek() == ' ' {
		if _, _, err := s.omTimestamp(); err != nil {
			return fmt.Errorf("exemplar: %w", err)
		}
	}
	l.exemplar = s.text[start:s.pos]
	return nil
}

// omLineFeed consumes the line feed at the end of a line, which is mandatory.
func (s *scanner) omLineFeed() error {
	if s.pos >= len(s.text) || s.text[s.pos] != '\n' {
		return fmt.Errorf("expected the end of the line, found %q", s.peek())
	}
	s.pos++
	return nil
}
