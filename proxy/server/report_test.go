package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// answerOf returns the answer of a scrape with these outcomes of web-0, web-1 and so on.
func answerOf(reasons ...target.Reason) scrape.Answer {
	answer := scrape.Answer{Merged: exposition.Merge(exposition.Format{}, nil)}
	for i, reason := range reasons {
		outcome := target.Outcome{Reason: reason, Duration: time.Second, Bytes: 7}
		if reason != target.OK {
			outcome.Err = errors.New("why it is " + string(reason))
		}
		pod := &target.Target{ID: fmt.Sprint(i), Namespace: "ns", Pod: fmt.Sprint("web-", i), URL: "http://10.0.0.1/metrics"}
		answer.Results = append(answer.Results, scrape.Result{Target: pod, Outcome: outcome})
	}
	return answer
}

// terminating returns the same for terminating pods.
func terminating(reasons ...target.Reason) scrape.Answer {
	answer := answerOf(reasons...)
	for _, r := range answer.Results {
		r.Target.Terminating = true
	}
	return answer
}

// step is one of several scrapes, with the expected log lines.
type step struct {
	name   string
	answer scrape.Answer
	want   [][]string
}

func wantSteps(t *testing.T, steps []step) {
	t.Helper()
	s, _, log := newServer(t)
	for i, step := range steps {
		s.report(metricsHistory(s), step.answer, exposition.Format{})
		wantLines(t, fmt.Sprintf("step %d, %s", i, step.name), log.take(), step.want...)
	}
}

// TestReport checks that only changes are logged.
func TestReport(t *testing.T) {
	who := []string{"namespace=ns", "pod=web-0", "url=http://10.0.0.1/metrics"}
	down := func(reason string) [][]string {
		return [][]string{append([]string{"level=WARN", `msg="target is down"`, "reason=" + reason, `err="why it is ` + reason + `"`, "duration=1s", "bytes=7"}, who...)}
	}
	upAgain := func(reason string) [][]string {
		return [][]string{append([]string{"level=INFO", `msg="target is up again"`, "was=" + reason}, who...)}
	}
	wantSteps(t, []step{
		{"up", answerOf(target.OK), nil},
		{"down", answerOf(target.Timeout), down("timeout")},
		{"still down", answerOf(target.Timeout), nil},
		{"another reason", answerOf(target.Parse), down("parse")},
		{"up again", answerOf(target.OK), upAgain("parse")},
		{"still up", answerOf(target.OK), nil},
		{"down again", answerOf(target.Parse), down("parse")},
		{"gone", answerOf(), nil},
		{"back and down", answerOf(target.Parse), down("parse")},
		{"gone", answerOf(), nil},
		{"back and up", answerOf(target.OK), nil},
		{"another one is down", answerOf(target.OK, target.Status), [][]string{{"pod=web-1", "reason=status"}}},
		{"both change", answerOf(target.TLS, target.OK), [][]string{{"pod=web-0", "reason=tls"}, {"pod=web-1", "was=status"}}},
	})
	wantSteps(t, []step{
		{"terminating and up", terminating(target.OK), nil},
		{"terminating and down", terminating(target.Connect), nil},
		{"for another reason", terminating(target.Timeout), nil},
		{"terminating and up again", terminating(target.OK), nil},
		{"down after all", answerOf(target.Timeout), down("timeout")},
		{"terminating and still down", terminating(target.Timeout), nil},
		{"terminating and down for another reason", terminating(target.Connect), nil},
		{"down, and not terminating, like another pod of this ID", answerOf(target.Connect), down("connect")},
		{"terminating and up", terminating(target.OK), upAgain("connect")},
	})
}

// merged returns the answer of a scrape of pods with these bodies, in a format.
func merged(t *testing.T, format exposition.Format, bodies ...string) scrape.Answer {
	t.Helper()
	answer := answerOf()
	var parts []exposition.Part
	for i, body := range bodies {
		pod := fmt.Sprint("web-", i)
		labels := exposition.NewLabels([]exposition.Label{{Name: "pod", Value: pod}})
		b, err := exposition.Read(strings.NewReader(body), exposition.Options{ContentType: "text/plain", Format: format, Labels: labels})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, exposition.Part{Labels: labels, Body: b})
		answer.Results = append(answer.Results, scrape.Result{Target: &target.Target{ID: pod, Namespace: "ns", Pod: pod}, Outcome: target.Outcome{Reason: target.OK}})
	}
	answer.Merged = exposition.Merge(format, parts)
	return answer
}

// TestReportConflicts checks that a conflict is logged with its family and targets if the
// previous scrape did not have it.
func TestReportConflicts(t *testing.T) {
	merged := func(bodies ...string) scrape.Answer { return merged(t, exposition.Format{}, bodies...) }
	const (
		counter, gauge = "# TYPE m counter\nm 1\n", "# TYPE m gauge\nm 1\n"
		twice          = "n 1\nn 1\n"
		named          = "n{pod=\"x\"} 1\n"
	)
	line := func(kind, family, targets string) []string {
		return []string{"level=WARN", `msg="conflict resolved"`, "kind=" + kind, "family=" + family, "targets=" + targets + "\n"}
	}
	wantSteps(t, []step{
		{"agree", merged(counter, counter), nil},
		{"disagree", merged(counter, gauge), [][]string{line("type", "m", `"ns/web-0, ns/web-1"`)}},
		{"still", merged(counter, gauge), nil},
		{"and a duplicate", merged(counter+twice, gauge), [][]string{line("duplicate", "n", "ns/web-0")}},
		{"as before, with more samples", merged(counter+twice+"n 1\n", gauge), nil},
		{"the same family in another way", merged(counter+twice+named, gauge), [][]string{line("label", "n", "ns/web-0")}},
		{"the same of another target", merged(counter, gauge+twice), [][]string{line("duplicate", "n", "ns/web-1")}},
		{"agree again", merged(counter, counter), nil},
		{"disagree again", merged(counter, gauge), [][]string{line("type", "m", `"ns/web-0, ns/web-1"`)}},
		{"one more", merged(counter, gauge, gauge), [][]string{line("type", "m", `"ns/web-0, ns/web-1, ns/web-2"`)}},
		{"five", merged(twice, twice, twice, twice, twice), [][]string{line("duplicate", "n", `"ns/web-0, ns/web-1, ns/web-2, ns/web-3, ns/web-4"`)}},
		{"many", merged(twice, twice, twice, twice, twice, twice, twice), [][]string{line("duplicate", "n", `"ns/web-0, ns/web-1, ns/web-2, ns/web-3, ns/web-4, and 2 more"`)}},
		{"several", merged(twice+named+"up 1\n", counter), [][]string{line("duplicate", "n", "ns/web-0"), line("label", "n", "ns/web-0"), line("up", "up", "ns/web-0")}},
	})
}

// TestReportConflictsOfFormats checks that a conflict is logged if it is new in its format,
// regardless of scrapes in other formats.
func TestReportConflictsOfFormats(t *testing.T) {
	const demoted = "# TYPE m gauge\nm 1\n# TYPE m_total counter\nm_total 1\n" // in OpenMetrics only
	openMetrics := exposition.Negotiate("application/openmetrics-text;version=1.0.0")
	line := [][]string{{"level=WARN", `msg="conflict resolved"`, `format="application/openmetrics-text; version=1.0.0; `, "kind=type", "family=m_total", "targets=ns/web-0\n"}}
	s, _, log := newServer(t)
	for i, step := range []struct {
		format exposition.Format
		body   string
		want   [][]string
	}{
		{exposition.Format{}, demoted, nil},
		{openMetrics, demoted, line},
		{exposition.Format{}, demoted, nil},
		{openMetrics, demoted, nil},
		{openMetrics, "m 1\n", nil},
		{exposition.Format{}, demoted, nil},
		{openMetrics, demoted, line},
	} {
		s.report(metricsHistory(s), merged(t, step.format, step.body), step.format)
		wantLines(t, fmt.Sprint("step ", i), log.take(), step.want...)
	}
}

// TestReportLimit checks that the number of lines per scrape is limited, and that the total is
// logged. Changes that are not logged are not logged later either.
func TestReportLimit(t *testing.T) {
	all := func(n int, reason target.Reason) scrape.Answer {
		return answerOf(slices.Repeat([]target.Reason{reason}, n)...)
	}
	twice, err := exposition.Read(strings.NewReader("n 1\nn 1\n"), exposition.Options{ContentType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	withConflict := func(answer scrape.Answer) scrape.Answer {
		answer.Merged = exposition.Merge(exposition.Format{}, []exposition.Part{{Body: twice}})
		return answer
	}
	s, _, log := newServer(t)
	const summary = `msg="further changes are not logged"`
	for _, step := range []struct {
		name        string
		answer      scrape.Answer
		want        int
		text        string // in each line
		wantSummary string
	}{
		{"as many as allowed", all(100, target.Timeout), 100, "reason=timeout", ""},
		{"no change", all(100, target.Timeout), 0, "", ""},
		{"one too many", all(101, target.Parse), 100, "reason=parse", "changes=101 logged=100"},
		{"no change", all(101, target.Parse), 0, "", ""},
		{"far too many, up again", all(101, target.OK), 100, "up again", "changes=101 logged=100"},
		{"far too many", all(5000, target.TLS), 100, "reason=tls", "changes=5000 logged=100"},
		{"terminating ones do not count", terminating(slices.Repeat([]target.Reason{target.Connect}, 5000)...), 0, "", ""},
		{"as many as allowed, and a conflict", withConflict(all(100, target.Status)), 100, "reason=status", "changes=101 logged=100"},
		{"no change", withConflict(all(100, target.Status)), 0, "", ""},
	} {
		s.report(metricsHistory(s), step.answer, exposition.Format{})
		got := log.take()
		if step.wantSummary != "" {
			last := got[len(got)-1]
			if !strings.Contains(last, "level=WARN "+summary+" "+step.wantSummary) {
				t.Errorf("%s: got last line %q, want %s", step.name, last, step.wantSummary)
			}
			got = got[:len(got)-1]
		}
		if len(got) != step.want {
			t.Errorf("%s: got %d lines, want %d", step.name, len(got), step.want)
		}
		for _, line := range got {
			if !strings.Contains(line, step.text) || strings.Contains(line, summary) {
				t.Errorf("%s: got line %q, want %q", step.name, line, step.text)
			}
		}
	}
}

// TestReportIsNotLocked checks that a slow log does not block other scrapes.
func TestReportIsNotLocked(t *testing.T) {
	s, _, log := newServer(t)
	locks := []*sync.Mutex{&s.routes[0].histories.mu, &metricsHistory(s).mu}
	s.opts.Logger = slog.New(&whileLogging{slog.NewTextHandler(log, nil), func() {
		for _, mu := range locks {
			if !mu.TryLock() {
				t.Error("a lock is held while a line is written")
				return
			}
			mu.Unlock()
		}
	}})
	s.report(metricsHistory(s), answerOf(target.Timeout, target.OK), exposition.Format{})
	s.report(metricsHistory(s), answerOf(target.OK, target.Timeout), exposition.Format{})
	if got := len(log.take()); got != 3 {
		t.Errorf("got %d lines, want 3", got)
	}
}

// whileLogging calls check for each line.
type whileLogging struct {
	slog.Handler
	check func()
}

func (h *whileLogging) Handle(ctx context.Context, r slog.Record) error {
	h.check()
	return h.Handler.Handle(ctx, r)
}

func (h *whileLogging) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &whileLogging{h.Handler.WithAttrs(attrs), h.check}
}

// TestManyConflicts checks that what is kept of conflicts does not depend on the length and
// number of family names, that known conflicts are not logged again, and that the conflicts of
// other targets are among the ones that are kept although a target has very many.
func TestManyConflicts(t *testing.T) {
	s, _, log := newServer(t)
	conflicts := func(n int, name string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s%d{pod=\"x\"} 1\n", name, i)
		}
		return b.String()
	}
	h := metricsHistory(s)
	for i, body := range []string{conflicts(3, "a"+strings.Repeat("x", 300_000)), conflicts(3, "b"+strings.Repeat("x", 300_000))} {
		s.report(h, merged(t, exposition.Format{}, body), exposition.Format{})
		if got := len(log.take()); got != 3 {
			t.Errorf("long names %d: logged %d lines, want 3", i, got)
		}
	}
	many := conflicts(3*maxConflicts, "many")
	for i, want := range []int{maxLines + 1, 0, 0} {
		s.report(h, merged(t, exposition.Format{}, many), exposition.Format{})
		if got := len(log.take()); got != want {
			t.Errorf("many names, scrape %d: logged %d lines, want %d", i, got, want)
		}
		if got := h.conflicts[exposition.Format{}]; len(got) != maxConflicts || !slices.IsSorted(got) {
			t.Errorf("%d conflicts are kept, want %d", len(got), maxConflicts)
		}
	}
	// About a third of the names of another target are kept.
	hashes, kept := s.conflictHashes(merged(t, exposition.Format{}, many, conflicts(1000, "zz")))
	others := 0
	for _, hash := range hashes[len(hashes)-1000:] {
		if _, ok := slices.BinarySearch(kept, hash); ok {
			others++
		}
	}
	if others < 100 {
		t.Errorf("%d conflicts of the last target are kept of 1000", others)
	}
}
