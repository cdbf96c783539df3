package exposition

import (
	"fmt"
	"iter"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
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

// protoFamily is a MetricFamily of a body without its Metrics.
type protoFamily struct {
	*dto.MetricFamily
	at      int    // offset of the message in the body
	message []byte // with the Metrics
}

// span is a part of a body.
type span struct{ start, end int }

// protoFamilies decodes the delimited MetricFamily messages of a body, checks each, and
// passes it to visit. It skips families without a Metric, because Prometheus does not
// look at the rest of them.
func protoFamilies(body []byte, visit func(protoFamily) error) error {
	for pos, n := 0, 1; pos < len(body); n++ {
		message, length := protowire.ConsumeBytes(body[pos:])
		if length < 0 {
			return &SyntaxError{Err: fmt.Errorf("message %d is cut off", n)}
		}
		pos += length
		mf, hasMetrics, err := decodeFamily(pos-len(message), message)
		if err == nil && hasMetrics {
			if err = checkFamily(mf); err == nil {
				err = visit(mf)
			}
		}
		if err != nil {
			if isSyntax(err) {
				return &SyntaxError{Err: fmt.Errorf("message %d: %w", n, err)}
			}
			return err
		}
	}
	return nil
}

// decodeFamily decodes a MetricFamily that begins at an offset of the body, except for its
// Metrics: a family may have millions of them.
func decodeFamily(at int, message []byte) (mf protoFamily, hasMetrics bool, err error) {
	mf = protoFamily{&dto.MetricFamily{}, at, message}
	var head []byte
	for pos := 0; pos < len(message); {
		number, typ, n := protowire.ConsumeField(message[pos:])
		if n < 0 {
			return mf, false, fmt.Errorf("not a MetricFamily: %w", protowire.ParseError(n))
		}
		field := message[pos : pos+n]
		pos += n
		if number == familyMetric && typ == protowire.BytesType {
			hasMetrics = true
			continue
		}
		if number == familyType && typ == protowire.VarintType {
			_, _, tag := protowire.ConsumeTag(field)
			if t, _ := protowire.ConsumeVarint(field[tag:]); t > uint64(dto.MetricType_GAUGE_HISTOGRAM) {
				return mf, false, fmt.Errorf("unknown type %d", t)
			}
		}
		if head = append(head, field...); len(head) > maxLine {
			return mf, false, errLongLine
		}
	}
	if err := familyWireTypes.check(head); err != nil {
		return mf, false, err
	}
	if err := proto.Unmarshal(head, mf.MetricFamily); err != nil {
		return mf, false, fmt.Errorf("not a MetricFamily: %w", err)
	}
	return mf, hasMetrics, nil
}

// metrics decodes and checks the Metrics of the family one by one, and passes each to visit
// with its position in the body.
func (mf protoFamily) metrics(visit func(*dto.Metric, span) error) error {
	for pos := 0; pos < len(mf.message); {
		number, typ, n := protowire.ConsumeField(mf.message[pos:])
		field := mf.message[pos : pos+n]
		pos += n
		if number != familyMetric || typ != protowire.BytesType {
			continue
		}
		_, _, tag := protowire.ConsumeTag(field)
		metric, _ := protowire.ConsumeBytes(field[tag:])
		m, err := mf.decodeMetric(metric)
		if err == nil {
			err = visit(m, span{mf.at + pos - len(metric), mf.at + pos})
		}
		if err != nil {
			if isSyntax(err) {
				return fmt.Errorf("metric %.80s: %w", mf.GetName(), err)
			}
			return err
		}
	}
	return nil
}

func (mf protoFamily) decodeMetric(metric []byte) (*dto.Metric, error) {
	if len(metric) > maxLine {
		return nil, errLongLine
	}
	if err := metricWireTypes.check(metric); err != nil {
		return nil, err
	}
	m := &dto.Metric{}
	if err := proto.Unmarshal(metric, m); err != nil {
		return nil, fmt.Errorf("not a Metric: %w", err)
	}
	if err := checkLabels(metric); err != nil {
		return nil, err
	}
	return m, checkMetric(mf.GetType(), m)
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

// checkFamily checks that name and help are valid UTF-8, as Prometheus does (textparse
// protobufparse.go).
func checkFamily(mf protoFamily) error {
	switch {
	case mf.GetName() == "" || !utf8.ValidString(mf.GetName()):
		return fmt.Errorf("metric name %.80q is empty or not valid UTF-8", mf.GetName())
	case !utf8.ValidString(mf.GetHelp()):
		return fmt.Errorf("help of metric %.80s is not valid UTF-8", mf.GetName())
	}
	return nil
}

// checkMetric checks what Prometheus checks (textparse protobufparse.go, and the scrape
// loop) in addition to checkLabels: every label has a name, no label duplicates the le
// or quantile that Prometheus adds, and native histograms are consistent.
func checkMetric(typ dto.MetricType, m *dto.Metric) error {
	made := ""
	switch typ {
	case dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM:
		if err := checkNative(m.GetHistogram()); err != nil {
			return err
		}
		made = "le"
	case dto.MetricType_SUMMARY:
		made = "quantile"
	}
	for _, l := range m.GetLabel() {
		if l.GetName() == "" { // the field is missing
			return fmt.Errorf("label %.80q has no name", l.GetValue())
		}
		if l.GetName() == made && l.GetValue() != "" {
			return fmt.Errorf("duplicate label %s", made)
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
