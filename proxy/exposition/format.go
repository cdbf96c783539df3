package exposition

import (
	"cmp"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
)

// syntax is a family of formats with one grammar.
type syntax uint8

const (
	text        syntax = iota // text/plain, versions 0.0.4 and 1.0.0
	openMetrics               // application/openmetrics-text, versions 0.0.1 and 1.0.0
	protobuf                  // delimited io.prometheus.client.MetricFamily
)

const (
	textType        = "text/plain"
	openMetricsType = "application/openmetrics-text"
	protobufType    = "application/vnd.google.protobuf"
	protobufMessage = "io.prometheus.client.MetricFamily"
)

// Format is the format of an answer. The zero value is text 0.0.4 with names as they
// are.
type Format struct {
	syntax   syntax
	version  string               // of text and OpenMetrics; empty = 0.0.4
	escaping model.EscapingScheme // of names that cannot stand without quotes
}

// Negotiate chooses the format of an answer from an Accept header alone: the one
// with the highest q, the first of equals. Nothing acceptable means text 0.0.4, and
// so does */*. A client that names no escaping gets underscores, since it may not
// know quoted names.
func Negotiate(accept string) Format {
	best, bestQ := Format{escaping: model.UnderscoreEscaping}, 0.0
	for clause := range strings.SplitSeq(accept, ",") {
		mediaType, params, err := mime.ParseMediaType(clause)
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(s, 64); err != nil {
				continue
			}
		}
		if f, ok := formatOf(mediaType, params); ok && q > bestQ {
			best, bestQ = f, q
		}
	}
	return best
}

// formatOf is the format that a media range asks for, and false if there is none.
func formatOf(mediaType string, params map[string]string) (Format, bool) {
	f := Format{version: params["version"], escaping: model.UnderscoreEscaping}
	if scheme, err := model.ToEscapingScheme(params["escaping"]); err == nil {
		f.escaping = scheme
	}
	switch mediaType {
	case "*/*", "text/*":
		f.version = "0.0.4"
		return f, true
	case textType:
		f.version = cmp.Or(f.version, "0.0.4")
		return f, f.version == "0.0.4" || f.version == "1.0.0"
	case openMetricsType:
		f.syntax, f.version = openMetrics, cmp.Or(f.version, "0.0.1")
		return f, f.version == "0.0.1" || f.version == "1.0.0"
	case protobufType:
		f.syntax, f.version = protobuf, ""
		return f, params["proto"] == protobufMessage && params["encoding"] == "delimited"
	}
	return f, false
}

// ContentType is the media type of an answer in the format.
func (f Format) ContentType() string {
	escaping := "escaping=" + f.escaping.String()
	switch f.syntax {
	case openMetrics:
		return fmt.Sprintf("%s; version=%s; charset=utf-8; %s", openMetricsType, f.version, escaping)
	case protobuf:
		return fmt.Sprintf("%s; proto=%s; encoding=delimited; %s", protobufType, protobufMessage, escaping)
	default:
		return fmt.Sprintf("%s; version=%s; charset=utf-8; %s", textType, cmp.Or(f.version, "0.0.4"), escaping)
	}
}

// Accept is what targets are asked for: the format itself first, and then those
// whose content it can carry best.
func (f Format) Accept() string {
	escaping := ";escaping=" + f.escaping.String()
	clauses := []string{
		textType + ";version=1.0.0" + escaping,
		textType + ";version=0.0.4" + escaping,
		"*/*",
	}
	om := []string{
		openMetricsType + ";version=1.0.0" + escaping,
		openMetricsType + ";version=0.0.1" + escaping,
	}
	switch f.syntax {
	case openMetrics:
		clauses = slices.Concat(om, clauses)
	case protobuf:
		clauses = slices.Concat([]string{protobufType + ";proto=" + protobufMessage + ";encoding=delimited" + escaping}, om, clauses)
	}
	for i := range clauses {
		clauses[i] += fmt.Sprintf(";q=0.%d", 9-i)
	}
	return strings.Join(clauses, ",")
}

// A ContentTypeError is a Content-Type that Prometheus would not parse.
type ContentTypeError string

func (e ContentTypeError) Error() string {
	return fmt.Sprintf("Content-Type is %.200q, want a well-formed one of %s, %s or %s", string(e), textType, openMetricsType, protobufType)
}

// syntaxOf is the syntax of a body of that Content-Type. fallback is a Content-Type
// for a missing or unknown one, as Prometheus's fallback_scrape_protocol; empty
// means none.
func syntaxOf(contentType, fallback string) (syntax, error) {
	for _, candidate := range []string{contentType, fallback} {
		mediaType, params, err := mime.ParseMediaType(candidate)
		if err != nil {
			continue
		}
		switch mediaType {
		case textType:
			return text, nil
		case openMetricsType:
			if params["version"] == "2.0.0" {
				continue // a draft, which Prometheus refuses too unless told otherwise
			}
			return openMetrics, nil
		case protobufType:
			return protobuf, nil
		}
	}
	return 0, ContentTypeError(contentType)
}
