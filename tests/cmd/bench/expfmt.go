package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// mergeFamilies merges with the expfmt package: it parses each body into objects, adds a
// label to each metric, and writes family by family. The bodies must be in the text format.
func mergeFamilies(f *fanOut, w io.Writer, r *http.Request) error {
	var mu sync.Mutex
	merged := map[string]*dto.MetricFamily{} // by name; guarded by mu
	err := f.each(r, func(target int, body *bytes.Buffer) error {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(body)
		if err != nil {
			return fmt.Errorf("cannot parse the body of target %d: %w", target, err)
		}
		label := &dto.LabelPair{Name: new("k8s_pod_name"), Value: new(podName(target))}
		for _, family := range families {
			for _, metric := range family.Metric {
				metric.Label = append(metric.Label, label)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for name, family := range families {
			if known, ok := merged[name]; ok {
				known.Metric = append(known.Metric, family.Metric...)
			} else {
				merged[name] = family
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	encoder := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		if err := encoder.Encode(merged[name]); err != nil {
			return fmt.Errorf("cannot write family %s: %w", name, err)
		}
	}
	return nil
}
