package exposition

// metricType is a TYPE of the text format or of OpenMetrics.
type metricType uint8

const (
	untyped metricType = iota // unknown in OpenMetrics; also: no TYPE declared
	counter
	gauge
	histogram
	summary
	gaugeHistogram
	info
	stateset
)

// typeNames are the names of the types in each syntax, in the order of the constants.
// The text format has only the first five.
var typeNames = map[syntax][]string{
	text:        {"untyped", "counter", "gauge", "histogram", "summary"},
	openMetrics: {"unknown", "counter", "gauge", "histogram", "summary", "gaugehistogram", "info", "stateset"},
}

func parseMetricType(in syntax, s string) (metricType, bool) {
	for i, name := range typeNames[in] {
		if name == s {
			return metricType(i), true
		}
	}
	return untyped, false
}

// suffixes returns the suffixes that samples of a family of this type may have after
// the name on its TYPE line. They may also have none.
func (t metricType) suffixes(in syntax) []string {
	if in == text {
		switch t {
		case counter:
			return []string{"_total"} // by convention: the text format has no such rule
		case histogram:
			return []string{"_bucket", "_sum", "_count"}
		case summary:
			return []string{"_sum", "_count"}
		}
		return nil
	}
	switch t {
	case counter:
		return []string{"_total", "_created"}
	case histogram:
		return []string{"_bucket", "_sum", "_count", "_created"}
	case summary:
		return []string{"_sum", "_count", "_created"}
	case gaugeHistogram:
		return []string{"_bucket", "_gsum", "_gcount", "_sum", "_count"}
	case info:
		return []string{"_info"}
	}
	return nil
}

// floatLabel returns the label whose value Prometheus converts to a canonical float
// while a TYPE of this kind is in effect, in every sample, whatever its name (textparse
// normalizeFloatsInLabelValues). It is empty for other types.
func (t metricType) floatLabel() string {
	switch t {
	case histogram:
		return "le"
	case summary:
		return "quantile"
	default:
		return ""
	}
}

// typeSet is a set of metric types.
type typeSet uint8

func (s typeSet) with(t metricType) typeSet { return s | 1<<t }

func (s typeSet) has(t metricType) bool { return s&(1<<t) != 0 }

// only reports whether the set contains no type other than t.
func (s typeSet) only(t metricType) bool { return s&^(1<<t) == 0 }
