package main

import (
	"log/slog"
	"math"
	"runtime/debug"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
)

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for _, test := range []struct {
		name         string
		configured   config.MemoryLimit
		goMemLimit   int64 // value of GOMEMLIMIT
		want, wantGo int64
	}{
		{"none", 0, math.MaxInt64, 0, math.MaxInt64},
		{"a size", 200 << 20, math.MaxInt64, 200 << 20, 200<<20 - scrape.ProgramMemory},
		{"GOMEMLIMIT too", 200 << 20, 50 << 20, 200 << 20, 50 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			debug.SetMemoryLimit(test.goMemLimit)
			got := limitMemory(test.configured, slog.New(slog.DiscardHandler))
			if goLimit := debug.SetMemoryLimit(-1); got != test.want || goLimit != test.wantGo {
				t.Errorf("got limit %d and Go's limit %d, want %d and %d", got, goLimit, test.want, test.wantGo)
			}
		})
	}
}
