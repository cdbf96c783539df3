//go:build !linux

package testbed

import (
	"context"
	"os"
	"os/exec"
)

// The bed supports only Linux, because other systems have only one loopback address by
// default. These functions let programs that import this package compile; New then returns
// an error.

func bindToParent(*exec.Cmd) {}

func terminateWithParent(*exec.Cmd) {}

func killGroup(leader *os.Process) { _ = leader.Kill() }

func interruptGroup(leader *os.Process) error { return leader.Kill() }

func lockFile(context.Context, string) (unlock func(), err error) { return func() {}, nil }
