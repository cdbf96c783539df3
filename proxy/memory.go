package main

import (
	"errors"
	"log/slog"
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
)

// cgroupShare is how much of the container's memory the process uses by default: the
// rest is for what the runtime does not count.
const cgroupShare = 0.8

// limitMemory makes the garbage collector keep to the limit, unless GOMEMLIMIT says
// otherwise, and returns it in bytes, or 0 for none.
func limitMemory(configured config.MemoryLimit, logger *slog.Logger) int64 {
	limit := int64(configured)
	if configured == config.AutoMemoryLimit {
		container, err := memlimit.FromCgroup()
		switch {
		case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
			return 0
		case err != nil:
			logger.Warn("the container's memory limit cannot be read, so there is none: set MEMORY_LIMIT", "err", err)
			return 0
		}
		limit = int64(float64(container) * cgroupShare)
	}
	if limit == 0 {
		return 0
	}
	if isUnset := debug.SetMemoryLimit(-1) == math.MaxInt64; isUnset {
		debug.SetMemoryLimit(limit - scrape.ProgramMemory)
	}
	logger.Info("memory is limited", "bytes", limit)
	return limit
}
