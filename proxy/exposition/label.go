package exposition

import (
	"slices"
	"strings"
)

// Label is one label of a target, put on each of its samples.
type Label struct{ Name, Value string }

// Labels are the labels of one target, rendered once for all of its lines.
// The zero value has no label. Immutable.
type Labels struct {
	labels []Label // all, also those without a value
	key    string  // of their names
	text   []byte  // `a="x",b="y"`, escaped; empty without labels
}

// NewLabels renders labels in the order given. A label with an empty value equals an
// absent one and is left out; an exposed label of its name gives way all the same, or
// it could name another target. Names must be distinct and match
// [a-zA-Z_][a-zA-Z0-9_]*; values must be valid UTF-8. It does not check them, and keeps
// the slice.
func NewLabels(labels []Label) Labels {
	length, names := 0, 0
	for _, label := range labels {
		names += len(label.Name) + 1
		length += len(label.Name) + len(label.Value) + len(`="",`)
	}
	key, text := make([]byte, 0, names), make([]byte, 0, length)
	for _, label := range labels {
		key = append(append(key, label.Name...), ' ')
		if label.Value == "" {
			continue
		}
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = append(append(text, label.Name...), '=', '"')
		text = append(appendEscaped(text, label.Value), '"')
	}
	return Labels{labels: labels, key: string(key), text: text}
}

// proto renders the labels as fields of a Metric message.
func (l Labels) proto() []byte {
	var fields []byte
	for _, label := range l.labels {
		if label.Value != "" {
			fields = appendProtoLabel(fields, label)
		}
	}
	return fields
}

func (l Labels) has(name []byte) bool {
	return slices.ContainsFunc(l.labels, func(a Label) bool { return a.Name == string(name) })
}

// appendEscaped escapes a label value as the text formats do.
func appendEscaped(dst []byte, value string) []byte {
	for i := range len(value) {
		switch c := value[i]; c {
		case '\\', '"':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// unescape reads a quoted string's inside as Prometheus does: \\, \" and \n are
// escapes, every other backslash stands for itself (textparse lvalReplacer).
func unescape(raw []byte) string {
	s := string(raw)
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\n`, "\n").Replace(s)
}

// isBareLabel says whether a label name can stand without quotes.
func isBareLabel(name []byte) bool {
	for i, c := range name {
		if !isNameStart(c) && (i == 0 || !isDigit(c)) {
			return false
		}
	}
	return len(name) > 0
}

// isBareMetric says whether a metric name can stand without quotes.
func isBareMetric(name []byte) bool {
	for i, c := range name {
		if !isNameStart(c) && c != ':' && (i == 0 || !isDigit(c)) {
			return false
		}
	}
	return len(name) > 0
}

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
