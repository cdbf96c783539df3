package exposition

import (
	"context"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
)

// How many Metrics are converted to text at once: at most batchMetrics, and no more than
// batchBytes unless a single one is larger.
const (
	batchMetrics = 256
	batchBytes   = 64 << 10
)

// textOfProtobuf converts a protobuf body to the syntax of the output, in which it is
// then read. This is rare: a target may return protobuf although the Accept header does
// not name it. Native histograms keep only the part that is a classic histogram. Those
// with float counts are dropped.
func textOfProtobuf(body []byte, opts Options) ([]byte, error) {
	lines := &limitedText{budget: budget{opts: &opts}, max: opts.MaxText}
	err := protoFamilies(body, func(mf protoFamily) error {
		batch := dto.MetricFamily{Name: mf.Name, Help: mf.Help, Type: mf.Type, Unit: mf.Unit}
		size := 0
		convert := func() error {
			if isDone(opts.Done) {
				return context.Canceled
			}
			if len(batch.Metric) == 0 {
				return nil
			}
			err := lines.family(opts.Format.syntax, proto.Clone(&batch).(*dto.MetricFamily))
			batch.Metric, batch.Help, size = batch.Metric[:0], nil, 0
			return err
		}
		err := mf.metrics(func(m *dto.Metric, at span) error {
			if h := m.GetHistogram(); h.GetSampleCountFloat() > 0 || h.GetZeroCountFloat() > 0 {
				return nil
			}
			if m.GetTimestampMs() == 0 {
				m.TimestampMs = nil // Prometheus reads 0 as no timestamp
			}
			batch.Metric = append(batch.Metric, m)
			if size += at.end - at.start; size < batchBytes && len(batch.Metric) < batchMetrics {
				return nil
			}
			return convert()
		})
		if err != nil {
			return err
		}
		return convert()
	})
	if err == nil && opts.Format.syntax == openMetrics {
		_, err = expfmt.FinalizeOpenMetrics(lines)
	}
	if err == nil {
		err = lines.settle()
	}
	return lines.buf, err
}

// family appends a family, which it may change.
func (t *limitedText) family(out syntax, mf *dto.MetricFamily) error {
	if out == text {
		_, err := expfmt.MetricFamilyToText(t, mf)
		return err
	}
	fitOpenMetrics(mf)
	_, err := expfmt.MetricFamilyToOpenMetrics(t, mf, expfmt.WithCreatedLines())
	return err
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
