package config

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

var errNotValid = errors.New("not valid")

// Duration is a duration in Go syntax, or a number of seconds.
type Duration time.Duration

// UnmarshalText parses 1m30s, 90s or 90.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		s += "s"
	}
	parsed, err := time.ParseDuration(s)
	*d = Duration(parsed)
	return err
}

// Bytes is a size in bytes.
type Bytes int64

const maxBytes Bytes = 1 << 30

// UnmarshalText parses sizes such as 32MiB, 500KB (of 1000 bytes), 500K and 1000000.
func (b *Bytes) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "BKMGiTkmgb ")
	factor, ok := map[string]float64{
		"": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9,
		"kib": 1 << 10, "ki": 1 << 10, "mib": 1 << 20, "mi": 1 << 20, "gib": 1 << 30, "gi": 1 << 30,
	}[strings.ToLower(strings.TrimSpace(string(text[len(number):])))]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(n*factor < 1<<62) || strings.ContainsAny(number, "_xX") { // which ParseFloat accepts
		return errNotValid
	}
	*b = Bytes(n * factor)
	return nil
}

// MemoryLimit is a size in bytes, AutoMemoryLimit, or 0 for none.
type MemoryLimit int64

// AutoMemoryLimit derives the limit from that of the container.
const AutoMemoryLimit MemoryLimit = -1

const minMemoryLimit MemoryLimit = 32 << 20

// UnmarshalText parses auto, none (in any case) or a size.
func (m *MemoryLimit) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "auto":
		*m = AutoMemoryLimit
		return nil
	case "none":
		*m = 0
		return nil
	}
	var b Bytes
	if err := b.UnmarshalText(text); err != nil {
		return err
	}
	*m = max(MemoryLimit(b), 1) // only the word none sets 0
	return nil
}

// ShardIndex is the index of this proxy among SHARD_COUNT proxies, or AutoShardIndex.
type ShardIndex int

// AutoShardIndex takes the index from the number at the end of the host name.
const AutoShardIndex ShardIndex = -1

// UnmarshalText parses auto or a whole number from 0.
func (i *ShardIndex) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*i = AutoShardIndex
		return nil
	}
	n, err := strconv.ParseUint(string(text), 10, 31)
	*i = ShardIndex(n)
	return err
}

// Namespace is the name of a Kubernetes namespace.
type Namespace string

// UnmarshalText parses a name. Blanks around it are ignored.
func (n *Namespace) UnmarshalText(text []byte) error {
	*n = Namespace(strings.TrimSpace(string(text)))
	if reasons := validation.IsDNS1123Label(string(*n)); len(reasons) > 0 {
		return detailError{fmt.Sprintf("%q: %s", *n, reasons[0])}
	}
	return nil
}

// Protocol is a scrape protocol, by its name in Prometheus's fallback_scrape_protocol.
type Protocol string

var contentTypes = map[Protocol]string{
	"PrometheusText0.0.4":  "text/plain; version=0.0.4",
	"PrometheusText1.0.0":  "text/plain; version=1.0.0",
	"OpenMetricsText0.0.1": "application/openmetrics-text; version=0.0.1",
	"OpenMetricsText1.0.0": "application/openmetrics-text; version=1.0.0",
	"PrometheusProto":      "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
}

// UnmarshalText parses one of Prometheus's names.
func (p *Protocol) UnmarshalText(text []byte) error {
	*p = Protocol(text)
	if contentTypes[*p] == "" {
		return errNotValid
	}
	return nil
}

// ContentType returns the Content-Type of the protocol, empty if none is set.
func (p Protocol) ContentType() string { return contentTypes[p] }

// Level is a slog.Level by name.
type Level slog.Level

// UnmarshalText parses debug, info, warn, warning or error, in any case.
func (l *Level) UnmarshalText(text []byte) error {
	level, ok := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "warning": slog.LevelWarn, "error": slog.LevelError,
	}[strings.ToLower(string(text))]
	if !ok {
		return errNotValid
	}
	*l = Level(level)
	return nil
}

// Format is the log format: logfmt or json.
type Format string

// UnmarshalText parses logfmt or json, in any case.
func (f *Format) UnmarshalText(text []byte) error {
	*f = Format(strings.ToLower(string(text)))
	if *f != "logfmt" && *f != "json" {
		return errNotValid
	}
	return nil
}

// TargetLabel is a label of every target, and the source of its value.
type TargetLabel struct {
	Name   string
	Source string // pod, namespace, ip, node, uid, port, container, label or annotation
	Key    string // of the label or annotation
}

// labelName matches the label names that need no quotes in an exposition.
var labelName = regexp.MustCompile("^[a-zA-Z_][a-zA-Z0-9_]*$")

// UnmarshalText parses NAME=SOURCE.
func (l *TargetLabel) UnmarshalText(text []byte) error {
	name, source, _ := strings.Cut(strings.TrimSpace(string(text)), "=")
	l.Name = strings.TrimSpace(name)
	l.Source, l.Key, _ = strings.Cut(strings.TrimSpace(source), ":")
	switch {
	case !labelName.MatchString(l.Name) || strings.HasPrefix(l.Name, "__"):
		return detailError{fmt.Sprintf("invalid label name %q: it must match %s and must not begin with __", l.Name, labelName)}
	case l.Name == "le" || l.Name == "quantile":
		return detailError{fmt.Sprintf("label %s is reserved for histograms and summaries", l.Name)}
	case slices.Contains([]string{"pod", "namespace", "ip", "node", "uid", "port", "container"}, l.Source) && l.Key == "":
		return nil
	case l.Source == "label" || l.Source == "annotation":
		if reasons := validation.IsQualifiedName(strings.ToLower(l.Key)); len(reasons) > 0 {
			return detailError{fmt.Sprintf("%q is not a valid %s key: %s", l.Key, l.Source, reasons[0])}
		}
		return nil
	}
	return detailError{fmt.Sprintf("%q is not a source: expected pod, namespace, ip, node, uid, port, container, label:KEY or annotation:KEY", source)}
}

func checkTargetLabels(labels []TargetLabel) error {
	for i, l := range labels {
		if slices.ContainsFunc(labels[:i], func(other TargetLabel) bool { return other.Name == l.Name }) {
			return fmt.Errorf("label %s is defined twice", l.Name)
		}
	}
	return nil
}
