package exposition

import (
	"strconv"
	"strings"
)

// appendTo writes the line in the canonical form, with names quoted where they
// must be and labels with an empty value left out. It returns where in dst labels
// can be inserted (see appendInjected).
func (l *line) appendTo(dst []byte) (text []byte, insert int) {
	open := isBareMetric(l.name) // the next label opens the braces
	hasBraces := !open
	if open {
		dst = append(dst, l.name...)
	} else {
		dst = append(dst, '{')
		dst = appendQuoted(dst, string(l.name))
	}
	insert = len(dst)
	for _, p := range l.labels {
		if len(p.value) == 0 {
			continue
		}
		if open {
			dst = append(dst, '{')
			insert = len(dst)
			open, hasBraces = false, true
		} else {
			dst = append(dst, ',')
		}
		if isBareLabel(p.name) {
			dst = append(dst, p.name...)
		} else {
			dst = appendQuoted(dst, string(p.name))
		}
		dst = append(dst, '=')
		dst = appendQuoted(dst, unescape(p.value))
	}
	if hasBraces {
		dst = append(dst, '}')
	}
	dst = append(dst, ' ')
	dst = append(dst, l.value...)
	if len(l.timestamp) > 0 {
		dst = append(dst, ' ')
		dst = append(dst, l.timestamp...)
	}
	return dst, insert
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

// canonicalFloat is the form that Prometheus gives to the value of le under a
// histogram and of quantile under a summary (labels.FormatOpenMetricsFloat). A
// value that is no number stays as it is.
func canonicalFloat(value string) string {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return value
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if strings.ContainsAny(s, "e.IN") {
		return s
	}
	return s + ".0"
}
