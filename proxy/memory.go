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

// cgroupShare is the share of the container's memory limit that the process uses by
// default. The rest is for memory that the Go runtime does not count.
const cgroupShare = 0.8

// limitMemory returns the memory limit in bytes, or 0 for none, and sets the soft memory
// limit of the Go runtime accordingly, unless GOMEMLIMIT is set.
func limitMemory(configured config.MemoryLimit, logger *slog.Logger) int64 {
	limit := int64(configured)
	if configured == config.AutoMemoryLimit {
		container, err := memlimit.FromCgroup()
		switch {
		case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
			return 0
		case err != nil:
			logger.Warn("cannot read the container's memory limit, so no limit applies: set MEMORY_LIMIT", "err", err)
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
	logger.Info("memory limit set", "bytes", limit)
	return limit
}
