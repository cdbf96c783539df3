package exposition

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// appendTo appends the line in the canonical form. It also returns where in dst labels
// can be inserted (see appendLabelled).
func (l *line) appendTo(dst []byte) (text []byte, insert int) {
	dst, insert = l.appendHead(dst)
	return l.appendTail(dst), insert
}

// maxSize returns how many bytes appendTo appends at most.
func (l *line) maxSize() int {
	size := 2*len(l.name) + len(l.value) + len(l.timestamp) + len(l.exemplar) + len(`{""}   `)
	for _, p := range l.labels {
		size += 2*(len(p.name)+len(p.value)) + len(`"="",`)
	}
	return size
}

// appendHead appends name and labels, with quotes around the names that need them, and
// a blank.
func (l *line) appendHead(dst []byte) (text []byte, insert int) {
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
	return append(dst, ' '), insert
}

// appendTail appends value, timestamp and exemplar.
func (l *line) appendTail(dst []byte) []byte {
	dst = append(dst, l.value...)
	if len(l.timestamp) > 0 {
		dst = append(dst, ' ')
		dst = append(dst, l.timestamp...)
	}
	if len(l.exemplar) > 0 {
		dst = append(dst, ' ')
		dst = append(dst, l.exemplar...)
	}
	return dst
}

// fit converts timestamp and exemplar to the form that the output can carry:
// milliseconds in text, which has no exemplars; seconds in OpenMetrics. It returns
// false for a timestamp that the output cannot represent: text has none before 1970,
// and OpenMetrics none that a float cannot hold.
func (l *line) fit(in, out syntax) bool {
	if out == text && len(l.exemplar) > 0 {
		l.exemplar, l.canonical = nil, false
	}
	if len(l.timestamp) == 0 || in == out {
		return true
	}
	l.canonical = false
	if out == text {
		l.timestamp = strconv.AppendInt(nil, l.millis, 10)
		return l.millis >= 0
	}
	var ok bool
	l.timestamp, ok = appendSeconds(nil, l.millis)
	return ok
}

// appendSeconds appends a time in milliseconds as OpenMetrics seconds, from which
// Prometheus reads the same milliseconds: it multiplies the float by 1000 and truncates
// the result. It returns false for a time that a float cannot represent so exactly,
// some hundred thousand years from now.
func appendSeconds(dst []byte, millis int64) ([]byte, bool) {
	start := len(dst)
	dst = strconv.AppendInt(dst, millis/1000, 10)
	if millis%1000 != 0 {
		dst = fmt.Appendf(dst, ".%03d", millis%1000)
	}
	readsAs := func(text []byte) int64 {
		seconds, _ := parseFloat(text) // cannot fail: the text was written above
		return millisOf(seconds)
	}
	if readsAs(dst[start:]) == millis {
		return dst, true
	}
	if millis%1000 == 0 {
		dst = append(dst, ".000"...)
	}
	dst = append(dst, '5') // the float was a little too small
	return dst, readsAs(dst[start:]) == millis
}

// millisOf converts seconds to milliseconds and truncates them as Prometheus does. A
// time that does not fit into an int64 becomes the smallest int64.
func millisOf(seconds float64) int64 {
	if math.Abs(seconds) >= math.MaxInt64/1000 {
		return math.MinInt64
	}
	return int64(seconds * 1000)
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

// canonicalFloat returns the form that Prometheus gives to the value of le under a
// histogram and of quantile under a summary (labels.FormatOpenMetricsFloat). A value
// that is not a number is returned unchanged.
func canonicalFloat(value string) string {
	if isCanonicalFloat(value) {
		return value
	}
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return value
	}
	if f == 0 {
		return "0.0" // also for -0
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if strings.ContainsAny(s, "e.IN") {
		return s
	}
	return s + ".0"
}

// isCanonicalFloat is a fast check of whether a number has the form that canonicalFloat
// gives it. It may return false for a number that has this form.
func isCanonicalFloat(s string) bool {
	whole, fraction, _ := strings.Cut(s, ".")
	isDigits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	if len(whole) > 6 || len(s) > 15 || !isDigits(whole) || !isDigits(fraction) {
		return false
	}
	isShort := fraction == "0" || fraction[len(fraction)-1] != '0'
	if whole[0] == '0' {
		return isShort && whole == "0" && (fraction[0] != '0' || fraction == "0")
	}
	return isShort
}
