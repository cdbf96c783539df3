package differential

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// strict checks rules that Prometheus does not enforce but other parsers do. Each family has
// one TYPE and at most one HELP and one UNIT, before its samples. The samples of a family
// are in one group; in OpenMetrics those of a metric as well. No family has the name of
// another family's samples.
type strict struct {
	isOpenMetrics bool
	types         map[string]model.MetricType // by family, so far
	seenMetadata  map[string]bool             // by kind of metadata and name
	hasSamples    map[string]bool
	family        string // of the current group
	ended         map[string]bool
	metric        string // of the current group
	endedMetrics  map[string]bool
}

func checkStrict(response []byte, contentType string) error {
	p, err := textparse.New(slices.Clone(response), contentType, nil, textparse.ParserOptions{})
	if err != nil {
		return err
	}
	c := &strict{
		isOpenMetrics: contentType == OpenMetrics, types: map[string]model.MetricType{}, seenMetadata: map[string]bool{},
		hasSamples: map[string]bool{}, ended: map[string]bool{}, endedMetrics: map[string]bool{},
	}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return c.checkNames()
		}
		if err != nil {
			return err
		}
		switch entry {
		case textparse.EntryType:
			name, typ := p.Type()
			c.types[unescaped(name)] = typ
			err = c.metadata("TYPE", unescaped(name))
		case textparse.EntryHelp:
			name, _ := p.Help()
			err = c.metadata("HELP", unescaped(name))
		case textparse.EntryUnit:
			name, _ := p.Unit()
			err = c.metadata("UNIT", unescaped(name))
		case textparse.EntrySeries:
			var l labels.Labels
			p.Labels(&l)
			err = c.sample(l)
		}
		if err != nil {
			return err
		}
	}
}

// unescaped unescapes a name in metadata, which Prometheus's parser returns without
// unescaping it.
func unescaped(name []byte) string {
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\n`, "\n").Replace(string(name))
}

func (c *strict) metadata(kind, name string) error {
	if key := kind + " " + name; c.seenMetadata[key] {
		return fmt.Errorf("duplicate %s of %s", kind, name)
	} else if c.seenMetadata[key] = true; c.hasSamples[name] {
		return fmt.Errorf("%s of %s after its samples", kind, name)
	}
	return c.enter(name)
}

// enter starts a new group unless family is the current one.
func (c *strict) enter(family string) error {
	if family == c.family {
		return nil
	}
	c.ended[c.family] = true
	if c.ended[family] {
		return fmt.Errorf("family %s is in two groups", family)
	}
	c.family, c.metric = family, ""
	clear(c.endedMetrics)
	return nil
}

func (c *strict) sample(l labels.Labels) error {
	name := l.Get(model.MetricNameLabel)
	typ, ok := c.types[c.family]
	if !ok || !slices.Contains(sampleNames(c.family, typ, c.isOpenMetrics), name) {
		return fmt.Errorf("sample %s is in the group of %s", l, c.family)
	}
	c.hasSamples[c.family] = true
	if !c.isOpenMetrics {
		return nil
	}
	metric := labels.NewBuilder(l).Del(model.MetricNameLabel, partLabel(c.family, typ)).Labels().String()
	if metric != c.metric {
		c.endedMetrics[c.metric] = true
		if c.endedMetrics[metric] && c.metric != "" {
			return fmt.Errorf("metric %s%s is in two groups", c.family, metric)
		}
		c.metric = metric
	}
	return nil
}

// partLabel returns the name of the label that distinguishes the samples of one metric.
func partLabel(family string, typ model.MetricType) string {
	switch typ {
	case model.MetricTypeHistogram, model.MetricTypeGaugeHistogram:
		return "le"
	case model.MetricTypeSummary:
		return "quantile"
	case model.MetricTypeStateset:
		return family
	default:
		return ""
	}
}

// sampleNames returns the names that samples of a family may have.
func sampleNames(family string, typ model.MetricType, isOpenMetrics bool) []string {
	suffixes := map[model.MetricType]string{
		model.MetricTypeHistogram: "_bucket _sum _count", model.MetricTypeSummary: "_sum _count",
	}[typ]
	if isOpenMetrics {
		suffixes = map[model.MetricType]string{
			model.MetricTypeCounter: "_total _created", model.MetricTypeHistogram: "_bucket _sum _count _created",
			model.MetricTypeSummary: "_sum _count _created", model.MetricTypeInfo: "_info",
			model.MetricTypeGaugeHistogram: "_bucket _gsum _gcount _sum _count",
		}[typ]
	}
	names := []string{family}
	for suffix := range strings.FieldsSeq(suffixes) {
		names = append(names, family+suffix)
	}
	return names
}

func (c *strict) checkNames() error {
	for family, typ := range c.types {
		for _, name := range sampleNames(family, typ, c.isOpenMetrics)[1:] {
			if _, ok := c.types[name]; ok {
				return fmt.Errorf("family %s has the name of a sample of %s", name, family)
			}
		}
	}
	return nil
}
