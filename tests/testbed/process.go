package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A Command specifies a process.
type Command struct {
	Name string // for names of log files and for errors
	Path string
	Args []string
	Env  []string // in addition to PATH and HOME; nothing else is inherited

	Supervisor bool // it has child processes, so it gets SIGTERM when this program is killed, not SIGKILL
}

// A Process is a running or finished child process. On Linux it does not outlive this
// program, unless it is a Supervisor that ignores SIGTERM. Its methods are safe for
// concurrent use.
type Process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr string // paths of the output files

	exited chan struct{} // closed when the process has exited
	code   int           // the exit code, -1 after a signal; valid once exited is closed
}

// startProcess starts the command. It runs in the directory logs, where its output is written
// to new files.
func startProcess(logs string, command Command) (*Process, error) {
	stdout, err := os.CreateTemp(logs, command.Name+".*.stdout")
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", command.Name, err)
	}
	defer func() { _ = stdout.Close() }()
	stderr, err := os.CreateTemp(logs, command.Name+".*.stderr")
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", command.Name, err)
	}
	defer func() { _ = stderr.Close() }()

	cmd := exec.CommandContext(context.Background(), command.Path, command.Args...)
	cmd.Dir = logs
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, command.Env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	bindToParent(cmd)
	if command.Supervisor {
		terminateWithParent(cmd)
	}

	p := &Process{
		name: command.Name, cmd: cmd,
		stdout: stdout.Name(), stderr: stderr.Name(),
		exited: make(chan struct{}),
	}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", command.Name, err)
	}
	return p, nil
}

// run starts the process and waits for it, on the same locked thread; see bindToParent.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	_ = p.cmd.Wait() // ProcessState has the result
	p.code = p.cmd.ProcessState.ExitCode()
	close(p.exited)
}

// PID returns the process ID. It is also valid after the process has exited.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited returns a channel that is closed when the process has exited.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait waits until the process exits. It returns the exit code, or -1 if a signal ended the
// process.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.exited:
		return p.code, nil
	case <-ctx.Done():
		return -1, fmt.Errorf("cannot wait for %s: %w", p.name, ctx.Err())
	}
}

// Signal sends a signal. It returns no error if the process has exited.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot signal %s: %w", p.name, err)
	}
	return nil
}

// Stop sends SIGTERM and returns the exit code. If the process has not exited after bound,
// Stop kills its process group and returns an error. A second call returns the same exit
// code immediately.
func (p *Process) Stop(bound time.Duration) (int, error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return -1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if code, err := p.Wait(ctx); err == nil {
		return code, nil
	}
	killGroup(p.cmd.Process)
	last, cancelLast := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancelLast()
	if _, err := p.Wait(last); err != nil {
		return -1, err
	}
	return -1, fmt.Errorf("cannot stop %s: it ignored SIGTERM for %s and was killed", p.name, bound)
}

// Stdout returns what the process has written to its standard output so far.
func (p *Process) Stdout() string { return readLog(p.stdout) }

// Stderr returns what the process has written to its standard error so far.
func (p *Process) Stderr() string { return readLog(p.stderr) }

func readLog(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// waitReady calls probe until it returns nil, the process exits, or bound is over. An error
// contains the end of the process's log.
func (p *Process) waitReady(ctx context.Context, bound time.Duration, probe func(context.Context) error) error {
	if err := p.pollWhileAlive(ctx, bound, probe); err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, lastLines(p.Stdout()+p.Stderr(), 20))
	}
	return nil
}

// pollWhileAlive calls probe until it returns nil, the process exits, or bound is over.
func (p *Process) pollWhileAlive(ctx context.Context, bound time.Duration, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	go func() {
		select {
		case <-p.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := poll(ctx, probe)
	if err == nil {
		return nil
	}
	select {
	case <-p.exited:
		return fmt.Errorf("%s exited with code %d", p.name, p.code)
	default:
		return fmt.Errorf("%s: timed out after %s: %w", p.name, bound, err)
	}
}

// poll calls probe every 50 ms until it returns nil or ctx is done. Then it returns the last
// error of probe.
func poll(ctx context.Context, probe func(context.Context) error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // prefer an error other than that of ctx
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
