package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A runner runs the tasks of a project one after the other and keeps what came of them.
type runner struct {
	project *project
	out     io.Writer
	system  string // of this machine, such as debian-12
	noSkip  bool   // SKIP is a failure

	succeeded []string
	failures  []string // each names the task, suite or project, and which script
	aborted   []string // tasks that did not run because something else failed
	skipped   []string // tasks that cannot run on this machine
	why       []string // for each suite that was skipped
	broken    bool     // a restore failed: nothing more may run
}

func (r *runner) failed() bool { return len(r.failures)+len(r.aborted) > 0 }

// all runs the suites between the project's prepare and restore.
func (r *runner) all(ctx context.Context) {
	names := slices.Sorted(maps.Keys(r.project.Suites))
	first := r.project.Suites[names[0]]
	at := r.job(first, first.tasks[0])
	at.dir = r.project.path // the others' scripts run in the directory of a task
	timeout := killTimeout(r.project.KillTimeout)
	prepared := r.step(ctx, at, "preparing", "project", r.project.Prepare, timeout) == nil
	for _, name := range names {
		s := r.project.Suites[name]
		if !prepared || r.broken || ctx.Err() != nil {
			r.abort(s.tasks)
			continue
		}
		r.suite(ctx, s)
	}
	// What was prepared is restored after Ctrl-C, too.
	_ = r.step(context.WithoutCancel(ctx), at, "restoring", "project", r.project.Restore, timeout)
}

// suite runs the tasks between the suite's prepare and restore.
func (r *runner) suite(ctx context.Context, s *suite) {
	at, timeout := r.job(s, s.tasks[0]), killTimeout(s.KillTimeout, r.project.KillTimeout)
	err := r.step(ctx, at, "preparing", s.name, s.Prepare, timeout)
	for _, t := range s.tasks {
		switch skip := (skipError{}); {
		case errors.As(err, &skip) && !r.noSkip:
			r.skipped = append(r.skipped, t.name)
		case err != nil || r.broken || ctx.Err() != nil:
			r.abort([]*task{t})
		default:
			r.task(ctx, s, t)
		}
	}
	if r.step(context.WithoutCancel(ctx), at, "restoring", s.name, s.Restore, timeout) != nil {
		r.broken = true
	}
}

// task runs its three scripts; the last one in any case.
func (r *runner) task(ctx context.Context, s *suite, t *task) {
	at, timeout := r.job(s, t), killTimeout(t.KillTimeout, s.KillTimeout, r.project.KillTimeout)
	prepare := inOrder(r.project.PrepareEach, s.PrepareEach, t.Prepare)
	restore := inOrder(t.Restore, s.RestoreEach, r.project.RestoreEach)

	err := r.step(ctx, at, "preparing", t.name, prepare, timeout)
	if err == nil {
		err = r.step(ctx, at, "executing", t.name, t.Execute, timeout)
	}
	if err != nil && t.Debug != "" {
		output, _ := at.run(context.WithoutCancel(ctx), t.Debug, timeout)
		fmt.Fprintf(r.out, "Debug output for %s:\n%s\n", at.name, output)
	}
	if restoreErr := r.step(context.WithoutCancel(ctx), at, "restoring", t.name, restore, timeout); restoreErr != nil {
		r.broken, err = true, restoreErr
	}
	if err == nil {
		r.succeeded = append(r.succeeded, t.name)
	}
}

// step runs one script and says so; a failure shows the script's output. What the script
// belongs to is named by of.
func (r *runner) step(ctx context.Context, at job, verb, of, script string, timeout time.Duration) error {
	if strings.TrimSpace(script) == "" {
		return nil
	}
	start := time.Now()
	fmt.Fprintf(r.out, "%s %s %s:%s...\n", start.Format(time.TimeOnly), verb, at.where(), of)
	output, err := at.run(ctx, script, timeout)
	took := time.Since(start).Round(100 * time.Millisecond)
	skip := skipError{}
	switch {
	case err == nil:
	case errors.As(err, &skip) && !r.noSkip && verb == "preparing" && strings.HasSuffix(of, "/"):
		r.why = append(r.why, of+": "+skip.reason)
		fmt.Fprintf(r.out, "SKIPPED %s: %s\n", of, skip.reason)
	default:
		err = fmt.Errorf("%s %s: %s", verb, of, err) //nolint:errorlint // a skip is a failure from here on
		r.failures = append(r.failures, err.Error())
		fmt.Fprintf(r.out, "%s Error %s after %s\n-----\n%s\n-----\n", time.Now().Format(time.TimeOnly), err, took, strings.TrimSpace(output))
	}
	return err
}

func (r *runner) abort(tasks []*task) {
	for _, t := range tasks {
		r.aborted = append(r.aborted, t.name)
	}
}

// report says what came of each task.
func (r *runner) report() {
	for _, list := range []struct {
		title string
		names []string
	}{
		{"Successful tasks", r.succeeded}, {"Aborted tasks", r.aborted}, {"Failed", r.failures},
	} {
		fmt.Fprintf(r.out, "%s: %d\n", list.title, len(list.names))
		for _, name := range list.names {
			fmt.Fprintln(r.out, "    -", name)
		}
	}
	if len(r.skipped) > 0 {
		fmt.Fprintf(r.out, "SKIPPED tasks: %d, which say nothing\n", len(r.skipped))
		for _, name := range r.skipped {
			fmt.Fprintln(r.out, "    -", name)
		}
		fmt.Fprintln(r.out, "because of\n    -", strings.Join(r.why, "\n    - "))
	}
}

// job is what the scripts of a task run with, and those of its suite and of the project if
// it is their first one.
func (r *runner) job(s *suite, t *task) job {
	const backend = "local"
	name := backend + ":" + r.system + ":" + t.name
	environment := environment{
		{"SPREAD_JOB", name}, {"SPREAD_PROJECT", r.project.Name}, {"SPREAD_PATH", r.project.path},
		{"SPREAD_BACKEND", backend}, {"SPREAD_SYSTEM", r.system}, {"SPREAD_SUITE", s.name},
		{"SPREAD_TASK", t.name}, {"SPREAD_VARIANT", ""}, {"SPREAD_SAMPLE", "1"},
		{"LANG", "C.UTF-8"}, {"LANGUAGE", "en"}, {"PROJECT_PATH", r.project.path}, // as rockcraft sets them
	}
	return job{
		name: name, dir: filepath.Join(r.project.path, filepath.FromSlash(t.name)),
		environment: slices.Concat(environment, s.Environment, t.Environment),
	}
}

// inOrder joins scripts as spread does: each in a shell of its own.
func inOrder(scripts ...string) string {
	var joined strings.Builder
	for _, script := range scripts {
		if strings.TrimSpace(script) != "" {
			fmt.Fprintf(&joined, "(\n%s\n)\n", script)
		}
	}
	return joined.String()
}
