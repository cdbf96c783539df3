package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// toOpenMetrics converts a body from the text format to OpenMetrics 1.0.0. A counter
// foo_total becomes the family foo; a counter without _total becomes unknown. If a family
// foo exists next to a counter foo_total, as with some Go runtime metrics, the counter is
// dropped, because OpenMetrics does not allow both.
func toOpenMetrics(body []byte) ([]byte, error) {
	types := familyTypes(body)
	out := make([]byte, 0, len(body)+len(body)/8)
	dropped := "" // the current family, if it is dropped
	for line := range bytes.Lines(body) {
		if line[0] != '#' {
			s, err := splitSample(line)
			if err != nil {
				return nil, err
			}
			if string(s.name) == dropped {
				continue
			}
			if s.timestamp, err = inSeconds(s.timestamp); err != nil {
				return nil, fmt.Errorf("cannot convert line %.200q: %w", line, err)
			}
			out = s.appendTo(out)
			continue
		}
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), " ", 4)
		if len(fields) < 4 || fields[1] != "HELP" && fields[1] != "TYPE" {
			continue // OpenMetrics allows no other comments
		}
		name := fields[2]
		family, kind := openMetricsFamily(name, types[name])
		if _, taken := types[family]; taken && family != name {
			dropped = name
			continue
		}
		text := strings.ReplaceAll(fields[3], `"`, `\"`)
		if fields[1] == "TYPE" {
			text = kind
		}
		out = fmt.Appendf(out, "# %s %s %s\n", fields[1], family, text)
	}
	return append(out, "# EOF\n"...), nil
}

func openMetricsFamily(name, kind string) (family, openMetricsKind string) {
	family, isTotal := strings.CutSuffix(name, "_total")
	switch {
	case kind == "counter" && isTotal:
		return family, kind
	case kind == "counter", kind == "untyped", kind == "":
		return name, "unknown"
	}
	return name, kind
}

// familyTypes returns the declared types of a text body, by family name.
func familyTypes(body []byte) map[string]string {
	types := map[string]string{}
	for line := range bytes.Lines(body) {
		if rest, ok := bytes.CutPrefix(line, []byte("# TYPE ")); ok {
			name, kind, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
			types[name] = kind
		}
	}
	return types
}

// inSeconds converts a timestamp from milliseconds. An empty timestamp stays empty.
func inSeconds(timestamp []byte) ([]byte, error) {
	if len(timestamp) == 0 {
		return nil, nil
	}
	ms, err := strconv.ParseInt(string(timestamp), 10, 64)
	if err != nil {
		return nil, err
	}
	return strconv.AppendFloat(nil, float64(ms)/1000, 'f', 3, 64), nil
}
