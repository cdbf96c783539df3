package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// toOpenMetrics rewrites a text body as OpenMetrics 1.0.0. A counter foo_total becomes
// family foo, one without _total is unknown. Where a family foo stands beside a
// counter foo_total, as the Go runtime's do, the counter is left out: both cannot be.
func toOpenMetrics(body []byte) ([]byte, error) {
	types := familyTypes(body)
	out := make([]byte, 0, len(body)+len(body)/8)
	dropped := "" // the counter that the lines belong to, if it is left out
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
				return nil, fmt.Errorf("cannot rewrite line %.200q: %w", line, err)
			}
			out = s.appendTo(out)
			continue
		}
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), " ", 4)
		if len(fields) < 4 || fields[1] != "HELP" && fields[1] != "TYPE" {
			continue // other comments are not allowed
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

// familyTypes are the types that a text body declares, by name.
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

// inSeconds rewrites a timestamp in milliseconds; none stays none.
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
