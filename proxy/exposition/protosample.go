package exposition

import (
	"fmt"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// parseProtobuf parses a protobuf body for protobuf output. Each Metric message stays
// as it is, including fields that later versions may add.
func (p *parser) parseProtobuf() error {
	return protoFamilies(p.text, func(mf protoFamily) error {
		to, err := p.protoFamily(&declaration{name: string(p.escapeName([]byte(mf.GetName()))), help: mf.GetHelp(), unit: mf.GetUnit(), typ: typeOfProto(mf.GetType())})
		if err != nil {
			return err
		}
		return mf.metrics(func(m *dto.Metric, at span) error {
			if err := p.checkDone(at.end); err != nil {
				return err
			}
			series := seriesIn(mf.GetType(), m)
			if err := p.expose(series); err != nil {
				return err
			}
			l := &p.line
			*l = line{labels: l.labels[:0], name: to.series, start: at.start, end: at.end, canonical: true}
			for _, pair := range m.GetLabel() {
				l.labels = append(l.labels, pairOf(pair))
			}
			if m.GetTimestampMs() != 0 { // Prometheus reads 0 as no timestamp
				l.timestamp, l.millis = []byte("0"), m.GetTimestampMs()
			}
			return p.addMetric(to, m, series)
		})
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
			if err := p.conflict(TimestampConflict, string(l.name), 1); err != nil {
				return err
			}
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
	to, err := p.protoFamily(&declaration{name: string(p.escapeName(l.name))})
	if err != nil {
		return err
	}
	l.name, l.canonical = to.series, false
	return p.addMetric(to, m, 1)
}

// addMetric adds a Metric to the body. Its labels and position are in p.line. If the line
// is not canonical, the Metric is encoded again.
func (p *parser) addMetric(to protoTarget, m *dto.Metric, series int) error {
	l := &p.line
	if err := p.giveWay(to.name); err != nil {
		return err
	}
	if to.name == upName && !l.hasLabels() && hasSeriesOfItsName(to.typ, m) {
		return p.conflict(UpConflict, upName, 1)
	}
	if !p.series.add(l, untyped) {
		return p.conflict(DuplicateConflict, to.name, 1)
	}
	s := sample{start: uint32(l.start), end: uint32(l.end), next: -1}
	if !l.canonical {
		m.Label = nil
		for _, a := range l.labels {
			m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(string(a.name)), Value: proto.String(unescape(a.value))})
		}
		if err := p.roomFor(proto.Size(m)); err != nil {
			return err
		}
		text, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(p.body.rewritten, m)
		if err != nil {
			return err
		}
		s.start, s.end, s.isRewritten = uint32(len(p.body.rewritten)), uint32(len(text)), true
		p.body.rewritten = text
	}
	if err := p.add(to.family, s, false); err != nil {
		return err
	}
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
func seriesName(name string, typ metricType) string {
	switch typ {
	case histogram, gaugeHistogram, summary:
		return name + "\xff" // not a valid name
	}
	return name
}

// protoTarget is where the Metrics of one name and type go.
type protoTarget struct {
	*declaration
	family int32
	series []byte // short for its seriesName, because a name is as long as it likes
}

// protoFamily returns where Metrics of that name and type go. A name may have several
// families.
func (p *parser) protoFamily(d *declaration) (protoTarget, error) {
	f, err := p.family(fmt.Sprintf("%d %s", d.typ, d.name))
	if err != nil {
		return protoTarget{}, err
	}
	name := seriesName(d.name, d.typ)
	number, ok := p.seriesNames[name]
	if !ok {
		number = []byte(strconv.Itoa(len(p.seriesNames)))
		p.seriesNames[name] = number
	}
	to := protoTarget{d, f, number}
	fam := &p.body.families[f]
	if fam.declared != nil {
		return to, nil
	}
	fam.name, fam.typ, fam.declared = d.name, d.typ, d
	return to, p.keep(declarationSize + int64(len(d.name)+len(d.help)+len(d.unit)))
}
