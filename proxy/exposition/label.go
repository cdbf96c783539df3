package exposition

import (
	"slices"
	"strings"
)

// Label is one label of a target, added to each of its samples.
type Label struct{ Name, Value string }

// Labels are the labels of one target, rendered once for all of its lines. The zero
// value has no labels. Immutable.
type Labels struct {
	labels []Label // including those without a value
	key    string  // identifies the names
	text   []byte  // `a="x",b="y"`, escaped; empty without labels
}

// NewLabels renders labels in the order given. A label with an empty value equals an
// absent one and is not rendered. An exposed label of its name is renamed nevertheless,
// because it could otherwise identify another target. Names must be distinct and match
// [a-zA-Z_][a-zA-Z0-9_]*, and values must be valid UTF-8. NewLabels does not check
// this, and keeps the slice.
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

// appendEscaped appends a label value, escaped as in the text formats.
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

// unescape unescapes the content of a quoted string as Prometheus does: \\, \" and \n
// are escapes, and every other backslash is literal (textparse lvalReplacer).
func unescape(raw []byte) string {
	s := string(raw)
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\n`, "\n").Replace(s)
}

// isBareLabel reports whether a label name needs no quotes.
func isBareLabel(name []byte) bool {
	for i, c := range name {
		if !isNameStart(c) && (i == 0 || !isDigit(c)) {
			return false
		}
	}
	return len(name) > 0
}

// isBareMetric reports whether a metric name needs no quotes.
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
