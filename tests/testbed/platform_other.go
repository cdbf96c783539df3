//go:build !linux

package testbed

import (
	"context"
	"os"
	"os/exec"
)

// The bed runs on Linux only: elsewhere 127.0.0.0/8 has one address. These let
// programs that import it compile, so that they can say so.

func bindToParent(*exec.Cmd) {}

func terminateWithParent(*exec.Cmd) {}

func killGroup(leader *os.Process) { _ = leader.Kill() }

func interruptGroup(leader *os.Process) error { return leader.Kill() }

func lockFile(context.Context, string) (unlock func(), err error) { return func() {}, nil }
