// Package differential compares this project's parser and merge with Prometheus's own
// parser: both must accept the same bodies, and the merged exposition must contain every
// series of every body, with its value, timestamp and type.
package differential

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// Content-Types of bodies and responses.
const (
	TextFormat  = "text/plain; version=0.0.4; charset=utf-8"
	OpenMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	Protobuf    = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// series is a sample as Prometheus parses it, before it adds target labels.
type series struct {
	labels    labels.Labels // without empty labels
	value     string        // the bits of the float, or a native histogram
	ts        *int64        // nil if there is none
	exemplars []string
	typ       model.MetricType // as Prometheus stores it
}

func (s series) key() string {
	if s.ts == nil {
		return s.labels.String()
	}
	return fmt.Sprintf("%s@%d", s.labels, *s.ts)
}

func (s series) String() string { return fmt.Sprintf("%s=%s %q", s.key(), s.value, s.exemplars) }

// parse parses an exposition like a scrape of Prometheus: with its parser, and with those
// checks of the scrape loop and the TSDB head that fail the whole scrape.
func parse(body []byte, contentType string) ([]series, error) {
	if len(body) == 0 {
		return nil, nil
	}
	p, err := textparse.New(slices.Clone(body), contentType, nil, textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	var all []series
	var family string
	var typ model.MetricType
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var l labels.Labels
		var ts *int64
		var s series
		switch entry {
		case textparse.EntrySeries:
			var value float64
			_, ts, value = p.Series()
			s.value = strconv.FormatUint(math.Float64bits(value), 16)
		case textparse.EntryHistogram:
			var h *histogram.Histogram
			var fh *histogram.FloatHistogram
			_, ts, h, fh = p.Histogram()
			s.value = fmt.Sprint(h, fh)
		case textparse.EntryType:
			var name []byte
			name, typ = p.Type()
			family = string(name)
			continue
		default:
			continue
		}
		p.Labels(&l)
		s.labels = l.Copy().WithoutEmpty()
		s.typ = model.MetricTypeUnknown
		if isPartOf(s.labels.Get(model.MetricNameLabel), family, typ) {
			s.typ = typ
		}
		if ts != nil {
			s.ts = new(*ts)
		}
		for e := (exemplar.Exemplar{}); p.Exemplar(&e); e = (exemplar.Exemplar{}) {
			s.exemplars = append(s.exemplars, fmt.Sprintf("%s %x %v %d", e.Labels, math.Float64bits(e.Value), e.HasTs, e.Ts))
		}
		if !s.labels.Has(model.MetricNameLabel) {
			return nil, errors.New("no metric name")
		}
		if !l.IsValid(model.UTF8Validation) {
			return nil, fmt.Errorf("invalid name in %s", l)
		}
		if name, dup := s.labels.HasDuplicateLabelNames(); dup {
			return nil, fmt.Errorf("duplicate label %s", name)
		}
		all = append(all, s)
	}
}

// withTargetLabels adds target labels as Prometheus does with honor_labels: false
// (mutateSampleLabels and resolveConflictingExposedLabels in scrape.go).
func withTargetLabels(l, target labels.Labels) labels.Labels {
	b := labels.NewBuilder(l)
	var conflicting []labels.Label
	target.Range(func(t labels.Label) {
		if exposed := l.Get(t.Name); exposed != "" {
			conflicting = append(conflicting, labels.Label{Name: t.Name, Value: exposed})
		}
		b.Set(t.Name, t.Value)
	})
	slices.SortStableFunc(conflicting, func(a, b labels.Label) int { return len(a.Name) - len(b.Name) })
	for _, c := range conflicting {
		name := model.ExportedLabelPrefix + c.Name
		for b.Get(name) != "" {
			name = model.ExportedLabelPrefix + name
		}
		b.Set(name, c.Value)
	}
	return b.Labels()
}

// expected returns the series of one target that a response must contain: its up, and all
// samples that it exposed, except for duplicates, of which the first is kept. A response in
// the text format has no exemplars and no timestamps before 1970. In a protobuf response,
// samples from text bodies have no exemplars, and a timestamp of 0 cannot be represented.
func expected(body []series, bodyType string, target labels.Labels, responseType string) []series {
	seen := map[string]bool{}
	var want []series
	up := withTargetLabels(labels.FromStrings(model.MetricNameLabel, "up"), target)
	want = append(want, series{labels: up, value: strconv.FormatUint(math.Float64bits(1), 16), typ: model.MetricTypeGauge})
	for _, s := range body {
		s.labels = withTargetLabels(s.labels, target)
		if labels.Equal(s.labels, up) || seen[s.key()] {
			continue
		}
		if responseType == TextFormat || responseType == Protobuf && bodyType != Protobuf {
			s.exemplars = nil
		}
		if responseType == Protobuf && s.ts != nil && *s.ts == 0 {
			continue // 0 means no timestamp
		}
		if responseType == TextFormat {
			if s.ts != nil && *s.ts < 0 {
				continue
			}
		}
		seen[s.key()] = true
		if bodyType != responseType {
			s.typ = "" // the conversion may change the type
		}
		want = append(want, s)
	}
	return want
}

// isPartOf reports whether Prometheus considers a series part of a family and assigns the
// family's type to it (isSeriesPartOfFamily in scrape.go).
func isPartOf(name, family string, typ model.MetricType) bool {
	suffixes := map[model.MetricType][]string{
		model.MetricTypeCounter:        {"_total"},
		model.MetricTypeHistogram:      {"_bucket", "_sum", "_count"},
		model.MetricTypeGaugeHistogram: {"_bucket", "_gsum", "_gcount"},
		model.MetricTypeSummary:        {"_sum", "_count"},
		model.MetricTypeInfo:           {"_info"},
	}[typ]
	suffix, ok := strings.CutPrefix(name, family)
	return ok && (suffix == "" || slices.Contains(suffixes, suffix))
}
