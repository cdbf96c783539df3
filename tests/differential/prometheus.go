// Package differential holds this project's parser and merge against
// Prometheus's own parser: what one accepts the other accepts, and every series
// of every body stands in the answer, with its value, timestamp and type.
package differential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

const contentType = "text/plain; version=0.0.4; charset=utf-8"

// series is one sample as Prometheus sees it before it adds a target's labels.
type series struct {
	labels labels.Labels // without those of empty value
	value  uint64        // bits
	ts     string        // empty if there is none
}

func (s series) key() string { return s.labels.String() + "@" + s.ts }

func (s series) String() string { return fmt.Sprintf("%s=%x", s.key(), s.value) }

// parse reads an exposition as a Prometheus scrape does: the parser, then the
// checks of the scrape loop and of the TSDB head that fail the whole scrape.
func parse(body []byte) ([]series, error) {
	if len(body) == 0 {
		return nil, nil
	}
	p, err := textparse.New(slices.Clone(body), contentType, nil, textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	var all []series
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		_, ts, value := p.Series()
		s := series{labels: l.Copy().WithoutEmpty(), value: math.Float64bits(value)}
		if ts != nil {
			s.ts = fmt.Sprint(*ts)
		}
		if !s.labels.Has(model.MetricNameLabel) {
			return nil, errors.New("no metric name")
		}
		if !l.IsValid(model.UTF8Validation) {
			return nil, fmt.Errorf("invalid name in %s", l)
		}
		if name, dup := s.labels.HasDuplicateLabelNames(); dup {
			return nil, fmt.Errorf("label %s twice", name)
		}
		all = append(all, s)
	}
}

// withTargetLabels does what Prometheus does with target labels under
// honor_labels: false (scrape.go mutateSampleLabels and
// resolveConflictingExposedLabels).
func withTargetLabels(l, target labels.Labels) labels.Labels {
	b := labels.NewBuilder(l)
	var conflicting []labels.Label
	target.Range(func(t labels.Label) {
		if exposed := l.Get(t.Name); exposed != "" {
			conflicting = append(conflicting, labels.Label{Name: t.Name, Value: exposed})
		}
		b.Set(t.Name, t.Value)
	})
	slices.SortStableFunc(conflicting, func(a, b labels.Label) int { return len(a.Name) - len(b.Name) })
	for _, c := range conflicting {
		name := model.ExportedLabelPrefix + c.Name
		for b.Get(name) != "" {
			name = model.ExportedLabelPrefix + name
		}
		b.Set(name, c.Value)
	}
	return b.Labels()
}

// expected is what an answer must hold of one target: its own up, and all that it
// exposed but for duplicates, of which the first wins.
func expected(body []series, target labels.Labels) []string {
	seen := map[string]bool{}
	var want []string
	up := withTargetLabels(labels.FromStrings(model.MetricNameLabel, "up"), target)
	want = append(want, series{labels: up, value: math.Float64bits(1)}.String())
	for _, s := range body {
		s.labels = withTargetLabels(s.labels, target)
		if labels.Equal(s.labels, up) || seen[s.key()] {
			continue
		}
		seen[s.key()] = true
		want = append(want, s.String())
	}
	return want
}

// checkForm checks what Prometheus lets pass and other parsers do not: one TYPE
// and at most one HELP a family, before its samples, which are in one group.
func checkForm(answer []byte) error {
	types, helps, ended := map[string]bool{}, map[string]bool{}, map[string]bool{}
	current := ""
	for l := range bytes.Lines(answer) {
		kind, rest, isMeta := strings.Cut(strings.TrimPrefix(string(l), "# "), " ")
		if !bytes.HasPrefix(l, []byte("# ")) || !isMeta {
			continue
		}
		name := metadataName(rest)
		set := types
		if kind == "HELP" {
			set = helps
		}
		if set[name] {
			return fmt.Errorf("second %s of %s", kind, name)
		}
		set[name] = true
		if name != current {
			if ended[name] {
				return fmt.Errorf("family %s stands in two groups", name)
			}
			ended[current] = true
			current = name
		}
	}
	return nil
}

// quotedName is a name in quotes, which may hold blanks and escaped quotes.
var quotedName = regexp.MustCompile(`^"(\\.|[^\\"])*"`)

// metadataName is the name at the start of what follows HELP or TYPE, with its
// quotes if it has any.
func metadataName(rest string) string {
	if name := quotedName.FindString(rest); name != "" {
		return name
	}
	name, _, _ := strings.Cut(rest, " ")
	return name
}
