package exposition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Field numbers of MetricFamily.
const (
	familyType   protowire.Number = 3
	familyMetric protowire.Number = 4
)

// protoTypes maps metric types to those of protobuf, which has no others.
var protoTypes = map[metricType]dto.MetricType{
	untyped:        dto.MetricType_UNTYPED,
	counter:        dto.MetricType_COUNTER,
	gauge:          dto.MetricType_GAUGE,
	histogram:      dto.MetricType_HISTOGRAM,
	summary:        dto.MetricType_SUMMARY,
	gaugeHistogram: dto.MetricType_GAUGE_HISTOGRAM,
}

// protoFamily is one decoded MetricFamily of a body, with the positions of its Metric
// messages in the body.
type protoFamily struct {
	*dto.MetricFamily
	metrics []span
}

// span is a part of a body.
type span struct{ start, end int }

// protoFamilies decodes the delimited MetricFamily messages of a body, checks each, and
// passes it to visit. It skips families without a Metric before checkFamily, because
// Prometheus does not look at the rest of them.
func protoFamilies(body []byte, visit func(protoFamily) error) error {
	for pos, n := 0, 1; pos < len(body); n++ {
		message, length := protowire.ConsumeBytes(body[pos:])
		if length < 0 {
			return &SyntaxError{Err: fmt.Errorf("message %d is cut off", n)}
		}
		pos += length
		mf, err := decodeFamily(pos-len(message), message)
		if err == nil && len(mf.GetMetric()) > 0 {
			if err = checkFamily(mf); err == nil {
				err = visit(mf)
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrTooManySamples), errors.Is(err, context.Canceled):
			return err
		default:
			return &SyntaxError{Err: fmt.Errorf("message %d: %w", n, err)}
		}
	}
	return nil
}

// decodeFamily decodes a MetricFamily that begins at an offset of the body.
func decodeFamily(at int, message []byte) (protoFamily, error) {
	mf := protoFamily{MetricFamily: &dto.MetricFamily{}}
	if err := proto.Unmarshal(message, mf.MetricFamily); err != nil {
		return mf, fmt.Errorf("not a MetricFamily: %w", err)
	}
	if err := checkWireTypes(mf.ProtoReflect()); err != nil {
		return mf, err
	}
	for pos := 0; pos < len(message); {
		number, typ, n := protowire.ConsumeTag(message[pos:])
		pos += n
		value := message[pos:]
		length := protowire.ConsumeFieldValue(number, typ, value)
		pos += length
		switch {
		case number == familyMetric && typ == protowire.BytesType:
			metric, _ := protowire.ConsumeBytes(value)
			mf.metrics = append(mf.metrics, span{at + pos - len(metric), at + pos})
			if err := checkLabels(metric); err != nil {
				return mf, fmt.Errorf("metric %.80s: %w", mf.GetName(), err)
			}
		case number == familyType && typ == protowire.VarintType:
			if t, _ := protowire.ConsumeVarint(value); t > uint64(dto.MetricType_GAUGE_HISTOGRAM) {
				return mf, fmt.Errorf("metric %.80s has the unknown type %d", mf.GetName(), t)
			}
		}
	}
	return mf, nil
}

// checkLabels checks the labels of a Metric: names must not be empty, and names and
// values must be valid UTF-8. A LabelPair may have several names or values. The last
// one counts, but Prometheus checks them all (prompb/io/prometheus/client/decoder.go
// parseLabel).
func checkLabels(metric []byte) error {
	for label := range byteFields(metric, metricLabel) {
		for name := range byteFields(label, labelName) {
			if len(name) == 0 || !utf8.Valid(name) {
				return fmt.Errorf("label name %.80q is empty or not valid UTF-8", name)
			}
		}
		for value := range byteFields(label, labelValue) {
			if !utf8.Valid(value) {
				return fmt.Errorf("label value %.80q is not valid UTF-8", value)
			}
		}
	}
	return nil
}

// byteFields iterates over the values of a field of strings or messages. The message
// must be valid.
func byteFields(message []byte, field protowire.Number) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(message) > 0 {
			number, typ, n := protowire.ConsumeTag(message)
			value := message[n:]
			message = value[protowire.ConsumeFieldValue(number, typ, value):]
			if number == field && typ == protowire.BytesType {
				if s, _ := protowire.ConsumeBytes(value); !yield(s) {
					return
				}
			}
		}
	}
}

// checkWireTypes rejects fields that have a wrong wire type, as Prometheus's decoder
// does. The decoder used here treats them as unknown fields.
func checkWireTypes(m protoreflect.Message) error {
	for unknown := m.GetUnknown(); len(unknown) > 0; {
		number, _, n := protowire.ConsumeField(unknown)
		if field := m.Descriptor().Fields().ByNumber(number); field != nil {
			return fmt.Errorf("field %s has the wrong wire type", field.FullName())
		}
		unknown = unknown[n:]
	}
	var err error
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range v.List().Len() {
				if err = checkWireTypes(v.List().Get(i).Message()); err != nil {
					break
				}
			}
		default:
			err = checkWireTypes(v.Message())
		}
		return err == nil
	})
	return err
}

// checkFamily checks what Prometheus checks (textparse protobufparse.go, and the scrape
// loop) in addition to checkLabels: name and help are valid UTF-8, every label has a
// name, no label duplicates the le or quantile that Prometheus adds, and native
// histograms are consistent.
func checkFamily(mf protoFamily) error {
	switch {
	case mf.GetName() == "" || !utf8.ValidString(mf.GetName()):
		return fmt.Errorf("metric name %.80q is empty or not valid UTF-8", mf.GetName())
	case !utf8.ValidString(mf.GetHelp()):
		return fmt.Errorf("help of metric %.80s is not valid UTF-8", mf.GetName())
	}
	for _, m := range mf.GetMetric() {
		made := ""
		switch h := m.GetHistogram(); mf.GetType() {
		case dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM:
			if err := checkNative(h); err != nil {
				return fmt.Errorf("metric %.80s: %w", mf.GetName(), err)
			}
			made = "le"
		case dto.MetricType_SUMMARY:
			made = "quantile"
		}
		for _, l := range m.GetLabel() {
			if l.GetName() == "" { // the field is missing
				return fmt.Errorf("metric %.80s: label %.80q has no name", mf.GetName(), l.GetValue())
			}
			if l.GetName() == made && l.GetValue() != "" {
				return fmt.Errorf("metric %.80s: duplicate label %s", mf.GetName(), made)
			}
		}
	}
	return nil
}

// isNative reports whether Prometheus treats it as a native histogram.
func isNative(h *dto.Histogram) bool {
	return len(h.GetPositiveSpan()) > 0 || len(h.GetNegativeSpan()) > 0 || h.GetZeroThreshold() > 0 || h.GetZeroCount() > 0
}

// checkNative checks that the spans and buckets of a native histogram agree.
func checkNative(h *dto.Histogram) error {
	if !isNative(h) {
		return nil
	}
	positive, negative := len(h.GetPositiveDelta()), len(h.GetNegativeDelta())
	if h.GetSampleCountFloat() > 0 || h.GetZeroCountFloat() > 0 {
		positive, negative = len(h.GetPositiveCount()), len(h.GetNegativeCount())
	}
	for _, side := range []struct {
		spans   []*dto.BucketSpan
		buckets int
	}{{h.GetPositiveSpan(), positive}, {h.GetNegativeSpan(), negative}} {
		total := 0
		for _, s := range side.spans {
			total += int(s.GetLength())
		}
		if total != side.buckets {
			return fmt.Errorf("spans cover %d buckets, but there are %d", total, side.buckets)
		}
	}
	return nil
}

// seriesIn returns how many series Prometheus creates from a Metric. For a classic
// histogram whose last bucket is +Inf, it is one too many.
func seriesIn(typ dto.MetricType, m *dto.Metric) int {
	switch typ {
	case dto.MetricType_SUMMARY:
		return 2 + len(m.GetSummary().GetQuantile())
	case dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM:
		if h := m.GetHistogram(); !isNative(h) {
			return 3 + len(h.GetBucket())
		}
	}
	return 1
}

// textOfProtobuf converts a protobuf body to the syntax of the output, in which it is
// then read. This is rare: a target may return protobuf although the Accept header does
// not name it. Native histograms keep only the part that is a classic histogram. Those
// with float counts are dropped.
func textOfProtobuf(body []byte, out syntax) ([]byte, error) {
	var lines bytes.Buffer
	err := protoFamilies(body, func(mf protoFamily) error {
		mf.Metric = slices.DeleteFunc(mf.Metric, func(m *dto.Metric) bool {
			return m.GetHistogram().GetSampleCountFloat() > 0 || m.GetHistogram().GetZeroCountFloat() > 0
		})
		if len(mf.Metric) == 0 {
			return nil
		}
		for _, m := range mf.Metric {
			if m.GetTimestampMs() == 0 {
				m.TimestampMs = nil // Prometheus reads 0 as no timestamp
			}
		}
		if out == text {
			_, err := expfmt.MetricFamilyToText(&lines, mf.MetricFamily)
			return err
		}
		fitOpenMetrics(mf.MetricFamily)
		_, err := expfmt.MetricFamilyToOpenMetrics(&lines, mf.MetricFamily, expfmt.WithCreatedLines())
		return err
	})
	if err == nil && out == openMetrics {
		_, err = expfmt.FinalizeOpenMetrics(&lines)
	}
	return lines.Bytes(), err
}

// fitOpenMetrics changes what OpenMetrics cannot represent, or expfmt would rename: a
// counter without _total becomes untyped, and a unit that is not the last part of the
// name is removed.
func fitOpenMetrics(mf *dto.MetricFamily) {
	if !isUnitOf(mf.GetUnit(), strings.TrimSuffix(mf.GetName(), "_total")) {
		mf.Unit = nil
	}
	if mf.GetType() != dto.MetricType_COUNTER || strings.HasSuffix(mf.GetName(), "_total") {
		return
	}
	mf.Type = dto.MetricType_UNTYPED.Enum()
	for _, m := range mf.Metric {
		m.Untyped = &dto.Untyped{Value: proto.Float64(m.GetCounter().GetValue())}
	}
}
