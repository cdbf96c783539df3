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

// syntax is a group of formats with the same grammar.
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

// Format is the format of the output. The zero value is text 0.0.4 without escaping of
// names.
type Format struct {
	syntax   syntax
	version  string               // of text and OpenMetrics; empty = 0.0.4
	escaping model.EscapingScheme // of names that need quotes
}

// Negotiate chooses the format of the output from an Accept header alone: the one with
// the highest q, or the first of those with equal q. If none is acceptable, it returns
// text 0.0.4, as it does for */*. A client that names no escaping scheme gets
// underscores, because it may not support quoted names.
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

// formatOf returns the format for a media range, or false if there is none.
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

// ContentType returns the media type of an output in the format.
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

// Accept returns the Accept header for scraping targets: the syntax of the format
// first, then the formats whose content it can carry best.
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

// A ContentTypeError is a Content-Type that Prometheus would reject.
type ContentTypeError string

func (e ContentTypeError) Error() string {
	return fmt.Sprintf("Content-Type is %.200q, expected a well-formed %s, %s or %s", string(e), textType, openMetricsType, protobufType)
}

// syntaxOf returns the syntax of a body with that Content-Type. fallback is the
// Content-Type to assume for a missing or unknown one, like fallback_scrape_protocol of
// Prometheus; empty means none.
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
				continue // a draft, which Prometheus also rejects by default
			}
			return openMetrics, nil
		case protobufType:
			return protobuf, nil
		}
	}
	return 0, ContentTypeError(contentType)
}
