package exposition

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a body of at most maxSmall bytes may take to be read twice, merged and written.
const (
	maxSmall  = 64 << 10
	maxCPU    = 200 * time.Millisecond
	maxMemory = 16 << 20 // bytes, in addition to its size
)

// FuzzResources looks for small bodies that take much CPU time or memory. It runs only with
// -fuzz, because it measures time.
func FuzzResources(f *testing.F) {
	if flag.Lookup("test.fuzz").Value.String() == "" && flag.Lookup("test.fuzzworker").Value.String() == "false" {
		f.Skip("runs only with -fuzz")
	}
	for _, b := range append(bodies(f), costly(f)...) {
		for in, contentType := range contentTypesOfBodies {
			if b.contentType == contentType {
				f.Add([]byte(b.text), uint8(in))
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, in uint8) {
		if len(body) > maxSmall {
			t.Skip("too large")
		}
		for name, format := range outputs {
			run := func() { readMergeWrite(body, contentTypesOfBodies[int(in)%len(contentTypesOfBodies)], format) }
			cpu, memory := cpuOf(run), int64(0)
			for i := 0; i < 3 && cpu > maxCPU; i++ {
				cpu = min(cpu, cpuOf(run))
			}
			if limit := maxMemory + int64(len(body)); allocatedBy(run) > limit { // much of it may be garbage
				memory = min(peakOf(run), peakOf(run), peakOf(run))
				if memory > limit {
					t.Errorf("%d bytes took %d bytes of memory in %s output", len(body), memory, name)
				}
			}
			if cpu > maxCPU {
				t.Errorf("%d bytes took %s of CPU in %s output", len(body), cpu, name)
			}
		}
	})
}

var contentTypesOfBodies = []string{textType, openMetricsType, protobufType}

// costly returns small bodies of kinds that once took seconds, or much memory.
func costly(t testing.TB) []testBody {
	var labels, conflicts strings.Builder
	labels.WriteString("m{")
	for i := range 3000 {
		fmt.Fprintf(&labels, "\"%c%c\"=\"1\",", rune(0x4e00+i), rune(0x4e00+i))
	}
	labels.WriteString("} 1\n")
	for i := range 2500 {
		fmt.Fprintf(&conflicts, "# TYPE m%d gauge\nm%d{pod=\"b\"} 1\n", i, i)
	}
	all := []testBody{
		{"labels that become equal", textType, labels.String()},
		{"families with a conflict", textType, conflicts.String()},
		{"Metrics with a long name", protobufType, manyMetrics(strings.Repeat("n", 40_000), 6_000, emptyCounter...)},
		{"Metrics of two bytes", protobufType, manyMetrics("m", 32_000)},
		{"short lines", textType, strings.Repeat("a 1\n", 16_000)},
	}
	for _, b := range kinds(t) {
		if cut := strings.LastIndexByte(b.text[:maxSmall/2], '\n') + 1; b.contentType == textType {
			all = append(all, testBody{b.name, b.contentType, b.text[:cut]})
		}
	}
	return all
}

// readMergeWrite reads a body for two targets, with a Reader that learns it, and writes the
// merged output.
func readMergeWrite(body []byte, contentType string, format Format) {
	r := NewReader(4 << 20)
	var parts []Part
	for _, pod := range []string{"pod=a", "pod=b"} {
		labels := labelsOf(pod)
		read, err := r.Read(bytes.NewReader(body), Options{Format: format, ContentType: contentType, Labels: labels})
		if err != nil {
			return
		}
		parts = append(parts, Part{Labels: labels, HasUp: true, Up: true, Body: read})
	}
	_, _ = Merge(format, parts).WriteTo(io.Discard)
}

func cpuOf(f func()) time.Duration {
	start := cpuTime()
	f()
	return cpuTime() - start
}

// allocatedBy returns the bytes that f allocates.
func allocatedBy(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// peakOf returns the bytes that the heap grows by while f runs.
func peakOf(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	before := heap()
	stop, peaks := make(chan struct{}), make(chan int64)
	go func() {
		peak := int64(0)
		for {
			peak = max(peak, liveHeap())
			select {
			case <-stop:
				peaks <- peak
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	f()
	close(stop)
	return <-peaks - before
}

// liveHeap returns the bytes of objects that are not swept yet.
func liveHeap() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // cannot fail for this process
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
