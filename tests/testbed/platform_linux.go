package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// bindToParent configures a child process so that the kernel kills it when the thread that
// started it exits. The caller must keep that thread (runtime.LockOSThread). The child gets
// its own process group, so that Ctrl-C reaches only this program.
func bindToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// terminateWithParent makes the kernel send SIGTERM instead of SIGKILL, so that the child can
// stop its own children, which the kernel does not kill.
func terminateWithParent(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM }

func killGroup(leader *os.Process) {
	_ = syscall.Kill(-leader.Pid, syscall.SIGKILL)
}

func interruptGroup(leader *os.Process) error {
	return syscall.Kill(-leader.Pid, syscall.SIGINT)
}

// lockFile creates the file at path and waits until this process holds an exclusive lock on
// it. The kernel releases the lock when the process exits.
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
