package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// bindToParent gives the child a process group of its own, so that Ctrl-C reaches
// this program alone, and has the kernel kill the child when the thread that starts
// it ends. The caller must keep that thread (runtime.LockOSThread).
func bindToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// terminateWithParent is for a child bound to its parent that must end its own children,
// which the kernel does not kill with it.
func terminateWithParent(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM }

func killGroup(leader *os.Process) {
	_ = syscall.Kill(-leader.Pid, syscall.SIGKILL)
}

func interruptGroup(leader *os.Process) error {
	return syscall.Kill(-leader.Pid, syscall.SIGINT)
}

// lockFile waits until this process alone holds the lock at path, which it creates.
// The kernel releases the lock of a process that dies.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, func(context.Context) error {
		return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", path, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}
