package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
)

// A variation describes how the bodies of the targets differ from their base. With the
// zero value they do not differ.
type variation struct {
	RandomValues bool    `json:"random_values"`
	Share        float64 `json:"share"` // of the sample lines: half of it is dropped, half becomes series that only one target has
}

// vary returns the body of a target. The result is deterministic. Comments do not change.
func (v variation) vary(base []byte, target int) ([]byte, error) {
	if v == (variation{}) {
		return base, nil
	}
	rng := rand.New(rand.NewPCG(1, uint64(target)))
	suffix := fmt.Sprintf("-t%d", target)
	out := make([]byte, 0, len(base)+len(base)/8)
	for line := range bytes.Lines(base) {
		if line[0] == '#' {
			out = append(out, line...)
			continue
		}
		s, err := splitSample(line)
		if err != nil {
			return nil, err
		}
		if rng.Float64() < v.Share {
			if rng.IntN(2) == 0 {
				continue
			}
			s.labels = mark(s.labels, "", suffix)
		}
		if v.RandomValues {
			s.value = randomValue(rng, s.value)
		}
		out = s.appendTo(out)
	}
	return out, nil
}

// A sample is a line `name{labels} value timestamp`, split into its parts.
type sample struct {
	name      []byte
	labels    []byte // `a="b",c="d"`, may be empty
	value     []byte
	timestamp []byte // may be empty
}

// splitSample splits a line. It supports the form that Go programs write: single spaces,
// only before the value and the timestamp, and no quoted names.
func splitSample(line []byte) (sample, error) {
	var s sample
	end := bytes.IndexAny(line, "{ ")
	if end < 0 {
		return s, fmt.Errorf("cannot split line %.200q: no value", line)
	}
	s.name = line[:end]
	rest := line[end:]
	if rest[0] == '{' {
		n, err := labelsLength(rest[1:])
		if err != nil {
			return s, fmt.Errorf("cannot split line %.200q: %w", line, err)
		}
		s.labels, rest = rest[1:1+n], rest[2+n:]
	}
	fields := bytes.Fields(rest)
	switch len(fields) {
	case 2:
		s.timestamp = fields[1]
	case 1:
	default:
		return s, fmt.Errorf("cannot split line %.200q: %d fields after the name", line, len(fields))
	}
	s.value = fields[0]
	return s, nil
}

// labelsLength returns the offset of the closing brace.
func labelsLength(text []byte) (int, error) {
	rest := text
	for len(rest) > 0 && rest[0] != '}' {
		_, length, err := firstLabel(rest)
		if err != nil {
			return 0, err
		}
		rest = bytes.TrimPrefix(rest[length:], []byte(","))
	}
	if len(rest) == 0 {
		return 0, errors.New("no closing brace")
	}
	return len(text) - len(rest), nil
}

// firstLabel returns the name of the first label, and the length of the label with its
// value.
func firstLabel(text []byte) (name []byte, length int, err error) {
	name, value, found := bytes.Cut(text, []byte(`="`))
	if !found {
		return nil, 0, errors.New("no label")
	}
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '"':
			return name, len(name) + len(`="`) + i + 1, nil
		}
	}
	return nil, 0, errors.New("no closing quote")
}

// mark appends the suffix to the value of the preferred label, or of the first label other
// than le and quantile. If there is neither, it adds a label.
func mark(labels []byte, preferred, suffix string) []byte {
	at := 0 // offset of the suffix
	for start := 0; start < len(labels); {
		name, length, err := firstLabel(labels[start:])
		if err != nil {
			break // cannot happen: splitSample has parsed these labels
		}
		quote := start + length - 1
		if string(name) == preferred {
			at = quote
			break
		}
		if at == 0 && string(name) != "le" && string(name) != "quantile" {
			at = quote
		}
		start += length + len(",")
	}
	if at > 0 {
		return bytes.Join([][]byte{labels[:at], labels[at:]}, []byte(suffix))
	}
	if len(labels) > 0 {
		labels = append(bytes.TrimSuffix(bytes.Clone(labels), []byte(",")), ',')
	}
	return fmt.Appendf(labels, `variant="%s"`, suffix)
}

// randomValue replaces the digits of a number. Length, sign, decimal point and exponent do
// not change, nor do NaN and Inf.
func randomValue(rng *rand.Rand, value []byte) []byte {
	value = bytes.Clone(value)
	mantissa, _, _ := bytes.Cut(value, []byte("e"))
	mantissa = bytes.TrimLeft(mantissa, "+-")
	last := len(mantissa) - 1
	for i, c := range mantissa {
		switch {
		case c < '0' || c > '9':
		case i == 0 && c == '0' && last > 0: // the leading zero of 0.5
		case i == 0 || i == last:
			mantissa[i] = byte('1' + rng.IntN(9))
		default:
			mantissa[i] = byte('0' + rng.IntN(10))
		}
	}
	return value
}

func (s sample) appendTo(out []byte) []byte {
	out = append(out, s.name...)
	if len(s.labels) > 0 {
		out = append(out, '{')
		out = append(out, s.labels...)
		out = append(out, '}')
	}
	out = append(out, ' ')
	out = append(out, s.value...)
	if len(s.timestamp) > 0 {
		out = append(out, ' ')
		out = append(out, s.timestamp...)
	}
	return append(out, '\n')
}

// countSamples returns the number of sample lines.
func countSamples(body []byte) int {
	n := 0
	for line := range bytes.Lines(body) {
		if line[0] != '#' {
			n++
		}
	}
	return n
}
