package hostile

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// A row is a kind of hostile pods.
type row struct {
	name        string
	pods        func() []http.Handler
	annotations map[string]string
	formats     []string // that clients ask for, by name or Accept header; empty = text
	scrapes     int      // 0 = 2
	peak        int      // maximum memory without MEMORY_LIMIT, in MiB; 0 = not tested without
	limited     bool     // test with MEMORY_LIMIT=64MiB, and a peak of 80 MiB
	contained   bool     // test in a container of 64 MiB
	log         string   // what the log must contain without MEMORY_LIMIT
	cpu         float64  // maximum seconds of CPU per scrape; 0 = no limit
}

func rows() []row {
	long := strings.Repeat("x", 1<<20)
	everyFormat := slices.Sorted(maps.Keys(accepts))
	return []row{
		{name: "name-100k", pods: func() []http.Handler { return same(1, family(long[:50_000], 12_500, emptyCounter)) }, formats: everyFormat, peak: 128, limited: true, contained: true},
		{name: "name-400k", pods: func() []http.Handler { return same(1, family(long[:50_000], 87_500, emptyCounter)) }, formats: everyFormat, peak: 128, limited: true, contained: true},
		{name: "metrics-of-2-bytes", pods: func() []http.Handler { return same(1, family("m", bodyLimit/2-100, nil)) }, formats: []string{"text", "protobuf"}, scrapes: 1, peak: 128, limited: true, contained: true},
		{name: "counters-of-4-bytes", pods: func() []http.Handler { return same(1, family("m", bodyLimit/4-100, emptyCounter)) }, formats: []string{"text", "protobuf"}, scrapes: 1, peak: 256, limited: true, contained: true},
		{name: "equal-labels", pods: func() []http.Handler { return []http.Handler{equalLabels(2000), equalLabels(3000)} }, formats: []string{"old text"}, peak: 128, cpu: 2},
		{name: "path-of-250k", pods: func() []http.Handler { return same(20, text("m 1\n")) }, annotations: map[string]string{"prometheus.io/path": "/" + long[:250_000-1]}, peak: 128, limited: true, contained: true, log: "reason=annotation"},
		{name: "20k-families", pods: ofManyFamilies, formats: slices.Concat(everyFormat, everyFormat, everyFormat, everyFormat), scrapes: 1, peak: 256, limited: true},
		{name: "20k-families-in-16-formats", pods: ofManyFamilies, formats: sixteenFormats(), scrapes: 1, peak: 256},
		{name: "99k-families", pods: func() []http.Handler {
			return same(5, text(lines(0, 99_000, func(i int) string { return fmt.Sprintf("m%d 1\n", i) })))
		}, scrapes: 3, limited: true, contained: true},
		{name: "families-of-many", pods: func() []http.Handler {
			return same(20, text(lines(0, 90_000, func(i int) string { return fmt.Sprintf("m%d 1\nm%d 1\n", i, i) })))
		}, scrapes: 1, peak: 2000},
		{name: "short-lines-1m", pods: func() (all []http.Handler) {
			for pod := range 20 {
				all = append(all, text(lines(1<<20, 0, func(i int) string { return fmt.Sprintf("m{a=\"%d.%d\"} 1\n", pod, i) })))
			}
			return all
		}, scrapes: 3, limited: true, contained: true},
		{name: "label-conflicts", pods: func() []http.Handler {
			return same(8, text(lines(0, 8_000, func(i int) string { return fmt.Sprintf("m%d{k8s_pod_name=\"x\"} 1\n", i) })))
		}, peak: 256, cpu: 4},
		{name: "comments", pods: func() []http.Handler {
			return same(5, text(lines(bodyLimit, 0, func(int) string { return "# comment\n" })))
		}, peak: 128, limited: true, log: "reason=too_large"},
		{name: "short-lines-32m", pods: func() []http.Handler {
			return same(20, text(lines(bodyLimit, 0, func(i int) string { return fmt.Sprintf("m{a=\"%d\"} 1\n", i) })))
		}, peak: 3000, limited: true},
		{name: "one-line-32m", pods: func() []http.Handler { return same(20, text("m{a=\""+strings.Repeat(long, 31)+"\"} 1\n")) }, peak: 256, limited: true, log: "reason=too_large"},
		{name: "value-with-line-feeds", pods: func() []http.Handler {
			return same(5, text("m{a=\""+strings.Repeat(long[:99]+"\n", bodyLimit/100-1)+"\"} 1\n"))
		}, peak: 512, limited: true, log: "reason=too_large"},
		{name: "many-labels", pods: func() []http.Handler {
			return same(5, text("m{"+lines(1<<20, 0, func(i int) string { return fmt.Sprintf("a%d=\"\",", i) })+"} 1\n"))
		}, formats: everyFormat, peak: 128, limited: true, contained: true, log: "reason=too_large"},
		{name: "many-buckets", pods: func() []http.Handler { return same(5, family("h", 2, emptyBuckets(500_000))) }, formats: everyFormat, peak: 128, limited: true, contained: true, log: "reason=too_large"},
		{name: "new-names", pods: func() []http.Handler { return same(1, newNames()) }, scrapes: 3, peak: 128},
		{name: "duplicates", pods: func() []http.Handler {
			return []http.Handler{text(lines(0, 1_000_000, func(i int) string { return fmt.Sprintf("m{a=\"b\"} %d\n", i) })), largeHistogram()}
		}, formats: []string{"text", "protobuf"}, peak: 256, limited: true},
	}
}

// ofManyFamilies returns four pods of 20,000 families each.
func ofManyFamilies() (all []http.Handler) {
	for pod := range 4 {
		all = append(all, text(lines(0, 20_000, func(i int) string { return fmt.Sprintf("# TYPE m%d_%d gauge\nm%d_%d 1\n", pod, i, pod, i) })))
	}
	return all
}

// TestHostilePods checks that good pods are served whole and in time beside hostile ones,
// within the memory that the program may use.
func TestHostilePods(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			createPods(t, "aaa-"+r.name, r.annotations, r.pods())
			if r.peak > 0 {
				t.Run("default", func(t *testing.T) { r.check(t, 4<<30, map[string]string{"MEMORY_LIMIT": "none"}, r.peak, r.log) })
			}
			if r.limited {
				t.Run("limited", func(t *testing.T) { r.check(t, 4<<30, map[string]string{"MEMORY_LIMIT": "64MiB"}, 80, "") })
			}
			if r.contained {
				t.Run("contained", func(t *testing.T) { r.check(t, 64<<20, nil, 64, "") })
			}
		})
	}
}

// check scrapes a proxy that runs in a cgroup of that many bytes. peak is in MiB.
func (r row) check(t *testing.T, cgroup int, env map[string]string, peak int, log string) {
	proxy := startProxy(t, "aaa-"+r.name, cgroup, env)
	formats, scrapes := r.formats, r.scrapes
	if len(formats) == 0 {
		formats = []string{"text"}
	}
	if scrapes == 0 {
		scrapes = 2
	}
	for _, format := range formats {
		for i := range scrapes {
			before := cpuSeconds(t, proxy.Process.PID())
			when := fmt.Sprintf("%s, scrape %d", format, i)
			checkGood(t, when, scrape(t, proxy, format))
			if took := cpuSeconds(t, proxy.Process.PID()) - before; r.cpu > 0 && took > r.cpu {
				t.Errorf("%s took %.1f s of CPU", when, took)
			}
		}
	}
	got := peakMiB(t, proxy.Process.PID())
	t.Logf("peak %d MiB", got)
	if got > peak {
		t.Errorf("the process used %d MiB, want at most %d", got, peak)
	}
	checkLog(t, proxy, log)
}

// checkLog checks that the log contains a text, and no line of more than 1 KiB.
func checkLog(t *testing.T, proxy *testbed.Proxy, want string) {
	t.Helper()
	log := proxy.Log()
	if !strings.Contains(log, want) {
		t.Errorf("the log does not contain %q", want)
	}
	for line := range strings.Lines(log) {
		if len(line) > 1<<10 {
			t.Errorf("a line of the log has %d bytes: %.200s", len(line), line)
		}
	}
}
