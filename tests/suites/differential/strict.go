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

// strict checks what Prometheus lets pass and other parsers do not: one TYPE and at
// most one HELP and UNIT a family, before its samples; the samples of a family in one
// group and, in OpenMetrics, those of one metric too; no family with the name of
// another's samples.
type strict struct {
	isOpenMetrics bool
	types         map[string]model.MetricType // of the families so far
	said          map[string]bool             // kinds of metadata and names
	hasSamples    map[string]bool
	family        string // of the group
	ended         map[string]bool
	metric        string // of the group
	endedMetrics  map[string]bool
}

func checkStrict(answer []byte, contentType string) error {
	p, err := textparse.New(slices.Clone(answer), contentType, nil, textparse.ParserOptions{})
	if err != nil {
		return err
	}
	c := &strict{
		isOpenMetrics: contentType == OpenMetrics, types: map[string]model.MetricType{}, said: map[string]bool{},
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

// unescaped is a name in metadata, which Prometheus's parser gives as it stands there.
func unescaped(name []byte) string {
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\n`, "\n").Replace(string(name))
}

func (c *strict) metadata(kind, name string) error {
	if key := kind + " " + name; c.said[key] {
		return fmt.Errorf("second %s of %s", kind, name)
	} else if c.said[key] = true; c.hasSamples[name] {
		return fmt.Errorf("%s of %s after its samples", kind, name)
	}
	return c.enter(name)
}

// enter begins a group, or goes on in it.
func (c *strict) enter(family string) error {
	if family == c.family {
		return nil
	}
	c.ended[c.family] = true
	if c.ended[family] {
		return fmt.Errorf("family %s stands in two groups", family)
	}
	c.family, c.metric = family, ""
	clear(c.endedMetrics)
	return nil
}

func (c *strict) sample(l labels.Labels) error {
	name := l.Get(model.MetricNameLabel)
	typ, ok := c.types[c.family]
	if !ok || !slices.Contains(sampleNames(c.family, typ, c.isOpenMetrics), name) {
		return fmt.Errorf("sample %s stands in the group of %s", l, c.family)
	}
	c.hasSamples[c.family] = true
	if !c.isOpenMetrics {
		return nil
	}
	metric := labels.NewBuilder(l).Del(model.MetricNameLabel, partLabel(c.family, typ)).Labels().String()
	if metric != c.metric {
		c.endedMetrics[c.metric] = true
		if c.endedMetrics[metric] && c.metric != "" {
			return fmt.Errorf("metric %s%s stands in two groups", c.family, metric)
		}
		c.metric = metric
	}
	return nil
}

// partLabel is the label that tells the samples of one metric apart.
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

// sampleNames are the names that samples of a family may have.
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
