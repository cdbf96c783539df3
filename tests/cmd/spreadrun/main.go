// Command spreadrun runs the tasks of spread.yaml on this machine, without spread: prepare,
// execute and restore of the project, its suites and tasks, in spread's order, each under
// bash -eu. It rejects keys of spread.yaml and task.yaml that this project does not use.
//
//	go run ./cmd/spreadrun                                  all tasks
//	go run ./cmd/spreadrun tests/suites/spread/rock/starts  one task
//	go run ./cmd/spreadrun tests/suites/spread/rock/        the tasks of a suite
//
// Restore always runs, even after a failure. As in spread, a failed task does not stop the
// others, a failed prepare of a suite stops the suite, and a failed restore stops the run,
// because the state of the machine is then unknown.
//
// Differences from spread: scripts run on this machine, with the caller's environment;
// suites and tasks run in alphabetical order; and the prepare of a suite may call SKIP
// REASON if this machine cannot run the suite, which is reported, and fails with -no-skip.
//
// The exit code is 0 if no task failed, 1 if one did, and 2 if the tasks cannot be read.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills the program
	dir := flag.String("project", "..", "directory of spread.yaml")
	noSkip := flag.Bool("no-skip", false, "fail if this machine cannot run a suite")
	flag.Parse()
	os.Exit(run(ctx, *dir, *noSkip, flag.Args(), os.Stdout))
}

// run returns the exit code. When ctx ends, it kills the running script, and restores what
// was prepared.
func run(ctx context.Context, dir string, noSkip bool, selected []string, out io.Writer) int {
	p, err := readProject(dir, selected)
	if err != nil {
		fmt.Fprintln(out, "spreadrun:", err)
		return 2
	}
	r := runner{project: p, noSkip: noSkip, out: out}
	r.all(ctx)
	report := func(title string, names []string) {
		fmt.Fprintln(out, strings.Join(append([]string{fmt.Sprintf("%s: %d", title, len(names))}, names...), "\n    - "))
	}
	report("Successful tasks", r.succeeded)
	report("Aborted tasks", r.aborted)
	report("SKIPPED suites", r.skipped)
	report("Failed", r.failed)
	return min(len(r.failed)+len(r.aborted), 1)
}

// A runner runs the tasks of a project one after the other and keeps the results.
type runner struct {
	project *project
	noSkip  bool
	out     io.Writer

	succeeded, aborted []string // tasks
	skipped            []string // suites, with the reason
	failed             []string // the phase, the name of the task, suite or project, and the error
	broken             bool     // a restore failed
}

// all runs everything. As in spread, the scripts of the project and of a suite have the
// environment of their first task.
func (r *runner) all(ctx context.Context) {
	names := slices.Sorted(maps.Keys(r.project.Suites))
	first := r.project.Suites[names[0]]
	project := step{of: "project", environment: first.Environment + first.tasks[0].Environment}
	err := r.run(ctx, "preparing", project, r.project.Prepare)
	for _, name := range names {
		s := r.project.Suites[name]
		suite := step{of: name, dir: s.tasks[0].name, environment: s.Environment + s.tasks[0].Environment}
		suiteErr := err
		isStarted := err == nil && !r.broken && ctx.Err() == nil
		if isStarted {
			suiteErr = r.run(ctx, "preparing", suite, s.Prepare)
		}
		for _, t := range s.tasks {
			switch {
			case errors.As(suiteErr, new(skipError)):
			case suiteErr != nil || r.broken || ctx.Err() != nil:
				r.aborted = append(r.aborted, t.name)
			default:
				r.task(ctx, step{of: t.name, dir: t.name, environment: s.Environment + t.Environment}, t)
			}
		}
		if isStarted {
			_ = r.run(context.WithoutCancel(ctx), "restoring", suite, s.Restore)
		}
	}
	_ = r.run(context.WithoutCancel(ctx), "restoring", project, r.project.Restore)
}

func (r *runner) task(ctx context.Context, at step, t *task) {
	err := r.run(ctx, "preparing", at, t.Prepare)
	if err == nil {
		err = r.run(ctx, "executing", at, t.Execute)
	}
	if errors.Join(err, r.run(context.WithoutCancel(ctx), "restoring", at, t.Restore)) == nil {
		r.succeeded = append(r.succeeded, t.name)
	}
}

// A step holds what the scripts of the project, a suite or a task share.
type step struct {
	of, dir     string // dir is relative to the project's
	environment environment
}

// run runs a script and records a failure, or that a suite is skipped.
func (r *runner) run(ctx context.Context, verb string, at step, script string) error {
	fmt.Fprintln(r.out, verb, at.of)
	output, err := r.bash(ctx, at, script)
	skip := skipError("")
	switch {
	case err == nil:
		return nil
	case errors.As(err, &skip) && !r.noSkip && verb == "preparing" && strings.HasSuffix(at.of, "/"):
		r.skipped = append(r.skipped, at.of+": "+string(skip))
		return err
	}
	err = fmt.Errorf("%s %s: %v", verb, at.of, err) //nolint:errorlint // from here on a skip is a failure
	r.failed, r.broken = append(r.failed, err.Error()), r.broken || verb == "restoring"
	fmt.Fprintf(r.out, "failed %v\n-----\n%s\n-----\n", err, strings.TrimSpace(output))
	return err
}

// skipError is the reason that a script gave to SKIP.
type skipError string

func (e skipError) Error() string { return "cannot be skipped: " + string(e) }

// shell is the format of the script that bash runs: the project's path, the environment and
// a script of the file.
const shell = `
SKIP() { echo "<SKIP $*>"; exit 213; }
export SPREAD_BACKEND=local SPREAD_PATH=%q
%sset -x
(:
%s
) < /dev/null
`

var skipLine = regexp.MustCompile(`(?m)^<SKIP (.*)>$`)

// bash returns the output of the script, with a trace of its commands. After kill-timeout,
// or when ctx ends, it kills the script with its process group.
func (r *runner) bash(ctx context.Context, at step, script string) (string, error) {
	// A file instead of a pipe, because processes in the background may keep it open.
	log, err := os.CreateTemp("", "spreadrun-")
	if err != nil {
		return "", err
	}
	defer func() { _, _ = log.Close(), os.Remove(log.Name()) }()
	limited, cancel := context.WithTimeout(ctx, r.project.KillTimeout)
	defer cancel()
	cmd := exec.CommandContext(limited, "bash", "-eu", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(shell, r.project.path, at.environment, script))
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(r.project.path, at.dir), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which restores
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	output, readErr := os.ReadFile(log.Name())
	skip := skipLine.FindSubmatch(output)
	switch {
	case err == nil:
		err = readErr
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	case limited.Err() != nil:
		err = fmt.Errorf("kill-timeout of %s reached", r.project.KillTimeout)
	case cmd.ProcessState.ExitCode() == 213 && skip != nil:
		err = skipError(skip[1])
	}
	return string(output), err
}
