package exposition

import (
	"iter"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Field numbers of Metric and LabelPair.
const (
	metricLabel protowire.Number = 1
	labelName   protowire.Number = 1
	labelValue  protowire.Number = 2
)

// appendProtoLabel appends a label as a field of a Metric message. Encoded messages can
// be concatenated: a Metric followed by label fields is a Metric with more labels.
func appendProtoLabel(dst []byte, l Label) []byte {
	var pair []byte
	pair = protowire.AppendTag(pair, labelName, protowire.BytesType)
	pair = protowire.AppendString(pair, l.Name)
	pair = protowire.AppendTag(pair, labelValue, protowire.BytesType)
	pair = protowire.AppendString(pair, l.Value)
	dst = protowire.AppendTag(dst, metricLabel, protowire.BytesType)
	return protowire.AppendBytes(dst, pair)
}

// writeProtobuf writes one family as a delimited MetricFamily message. The length
// precedes the message, so it iterates over the samples twice.
func (m *Merged) writeProtobuf(out *writer, f *mergedFamily) {
	head := &dto.MetricFamily{Name: proto.String(f.name), Type: protoTypes[f.typ].Enum()}
	if f.help != "" {
		head.Help = proto.String(f.help)
	}
	if f.unit != "" {
		head.Unit = proto.String(f.unit)
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(head)
	if err != nil {
		out.err = err
		return
	}
	length := len(encoded)
	for labels, metric := range m.metrics(f) {
		length += protowire.SizeTag(familyMetric) + protowire.SizeBytes(len(metric)+len(labels))
	}
	out.buf = protowire.AppendVarint(out.buf, uint64(length))
	out.buf = append(out.buf, encoded...)
	for labels, metric := range m.metrics(f) {
		if out.err != nil {
			return
		}
		out.buf = protowire.AppendTag(out.buf, familyMetric, protowire.BytesType)
		out.buf = protowire.AppendVarint(out.buf, uint64(len(metric)+len(labels)))
		out.buf = append(out.buf, metric...)
		out.buf = append(out.buf, labels...)
		out.flushIfFull()
	}
}

// metrics iterates over the Metric messages of a family, each with the encoded labels
// to append to it.
func (m *Merged) metrics(f *mergedFamily) iter.Seq2[[]byte, []byte] {
	return func(yield func(labels, metric []byte) bool) {
		for t := range m.turns(f) {
			p := &m.parts[t.part]
			labels := p.Labels.proto()
			if t.from == nil {
				if !yield(labels, upMetric(p.Up)) {
					return
				}
				continue
			}
			for s := range p.Body.each(t.from.family, t.at) {
				if !yield(labels, s.text) {
					return
				}
			}
		}
	}
}

// upMetric returns the Metric message of a part's own up.
func upMetric(up bool) []byte {
	value := 0.0
	if up {
		value = 1
	}
	metric, _ := proto.Marshal(&dto.Metric{Gauge: &dto.Gauge{Value: &value}}) // no field can fail
	return metric
}
