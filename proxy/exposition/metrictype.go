package exposition

// metricType is a TYPE of the text format.
type metricType uint8

const (
	untyped metricType = iota // also: no TYPE declared
	counter
	gauge
	histogram
	summary
)

func parseMetricType(s string) (metricType, bool) {
	for t := untyped; t <= summary; t++ {
		if t.String() == s {
			return t, true
		}
	}
	return untyped, false
}

func (t metricType) String() string {
	return [...]string{"untyped", "counter", "gauge", "histogram", "summary"}[t]
}

// suffixes are those that the samples of a family of this type carry after the
// family's name, besides none.
func (t metricType) suffixes() []string {
	switch t {
	case histogram:
		return []string{"_bucket", "_sum", "_count"}
	case summary:
		return []string{"_sum", "_count"}
	default:
		return nil
	}
}

// floatLabel is the label whose value Prometheus rewrites into a canonical float
// while a TYPE of this kind is in force, of every sample, whatever its name
// (textparse normalizeFloatsInLabelValues). Empty for other types.
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

// only says whether the set holds no type but t.
func (s typeSet) only(t metricType) bool { return s&^(1<<t) == 0 }
