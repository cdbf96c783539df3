package exposition

import (
	"context"
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// parseProtobuf parses a protobuf body for protobuf output. Each Metric message stays
// as it is, including fields that later versions may add.
func (p *parser) parseProtobuf() error {
	return protoFamilies(p.text, func(mf protoFamily) error {
		if isDone(p.opts.Done) {
			return context.Canceled
		}
		d := &declaration{name: string(p.escapeName([]byte(mf.GetName()))), help: mf.GetHelp(), unit: mf.GetUnit(), typ: typeOfProto(mf.GetType())}
		for i, m := range mf.GetMetric() {
			series := seriesIn(mf.GetType(), m)
			if err := p.expose(series); err != nil {
				return err
			}
			l := &p.line
			*l = line{labels: l.labels[:0], name: []byte(d.name), start: mf.metrics[i].start, end: mf.metrics[i].end, canonical: true}
			for _, pair := range m.GetLabel() {
				l.labels = append(l.labels, pairOf(pair))
			}
			if m.GetTimestampMs() != 0 { // Prometheus reads 0 as no timestamp
				l.timestamp, l.millis = []byte("0"), m.GetTimestampMs()
			}
			if err := p.addMetric(d, m, series); err != nil {
				return fmt.Errorf("metric %.80s: %w", mf.GetName(), err)
			}
		}
		return nil
	})
}

func typeOfProto(t dto.MetricType) metricType {
	for typ, name := range protoTypes {
		if name == t {
			return typ
		}
	}
	return untyped
}

func pairOf(l *dto.LabelPair) pair {
	return pair{name: []byte(l.GetName()), value: appendEscaped(nil, l.GetValue())}
}

// addLineAsProtobuf adds the sample line in p.line to a body for protobuf output.
// Protobuf has no parts of histograms, so the line becomes an untyped metric of its own
// name, with le and quantile as Prometheus would have read them.
func (p *parser) addLineAsProtobuf() error {
	l := &p.line
	m := &dto.Metric{Untyped: &dto.Untyped{Value: proto.Float64(l.number)}}
	if len(l.timestamp) > 0 {
		if l.millis == 0 { // would be read as no timestamp
			p.body.conflicts[conflict{TimestampConflict, string(l.name)}]++
			return l.checkLabels()
		}
		m.TimestampMs = proto.Int64(l.millis)
	}
	if floatLabel := p.typ().floatLabel(); floatLabel != "" {
		for i, a := range l.labels {
			if string(a.name) == floatLabel {
				l.labels[i].value = appendEscaped(nil, canonicalFloat(unescape(a.value)))
			}
		}
	}
	l.name, l.canonical = p.escapeName(l.name), false
	return p.addMetric(&declaration{name: string(l.name)}, m, 1)
}

// addMetric adds a Metric to the body. Its name, labels and position are in p.line. If
// the line is not canonical, the Metric is encoded again.
func (p *parser) addMetric(d *declaration, m *dto.Metric, series int) error {
	l := &p.line
	if err := p.giveWay(d.name); err != nil {
		return err
	}
	if isUp(l) && hasSeriesOfItsName(d.typ, m) {
		p.body.conflicts[conflict{UpConflict, upName}]++
		return nil
	}
	s := sample{start: uint32(l.start), end: uint32(l.end), next: -1}
	if !l.canonical {
		m.Label = nil
		for _, a := range l.labels {
			m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(string(a.name)), Value: proto.String(unescape(a.value))})
		}
		text, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(p.body.rewritten, m)
		if err != nil {
			return err
		}
		s.start, s.end, s.isRewritten = uint32(len(p.body.rewritten)), uint32(len(text)), true
		p.body.rewritten = text
	}
	f, err := p.protoFamily(d)
	if err != nil {
		return err
	}
	l.name = seriesName(d.name, d.typ)
	if !p.series.add(p.body, f, &s, l) {
		p.body.conflicts[conflict{DuplicateConflict, d.name}]++
		return nil
	}
	p.body.add(f, s, false)
	p.body.series += series
	return nil
}

// hasSeriesOfItsName reports whether Prometheus creates a series from the Metric that
// has the name of the family and only the labels of the Metric.
func hasSeriesOfItsName(typ metricType, m *dto.Metric) bool {
	switch typ {
	case summary:
		return false
	case histogram, gaugeHistogram:
		return isNative(m.GetHistogram())
	}
	return true
}

// seriesName returns a name that distinguishes the series of a Metric from those of
// another one with the same name and labels: a histogram foo has no series in common
// with a gauge foo.
func seriesName(name string, typ metricType) []byte {
	switch typ {
	case histogram, gaugeHistogram, summary:
		return []byte(name + "\xff") // not a valid name
	}
	return []byte(name)
}

// protoFamily returns the index of the family with that name and type. A name may have
// several families.
func (p *parser) protoFamily(d *declaration) (int32, error) {
	f, err := p.family(fmt.Sprintf("%d %s", d.typ, d.name))
	if err != nil {
		return 0, err
	}
	if fam := &p.body.families[f]; fam.first < 0 {
		fam.name, fam.typ, fam.declared = d.name, d.typ, d
	}
	return f, nil
}
