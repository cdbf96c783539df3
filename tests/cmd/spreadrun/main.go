package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	dir := flag.String("project", "..", "directory of spread.yaml")
	noSkip := flag.Bool("no-skip", false, "a suite that cannot run on this machine fails")
	flag.Parse()
	os.Exit(run(ctx, options{dir: *dir, selected: flag.Args(), noSkip: *noSkip}, os.Stdout))
}

type options struct {
	dir      string   // of spread.yaml
	selected []string // tasks and suites; none means all
	noSkip   bool     // that a suite cannot run is a failure
}

// run returns the exit code. When ctx ends, the script that runs is killed, and what was
// prepared is restored.
func run(ctx context.Context, o options, out io.Writer) int {
	p, err := readProject(o.dir)
	if err == nil {
		err = p.selectTasks(o.selected)
	}
	if err != nil {
		fmt.Fprintln(out, "spreadrun:", err)
		return 2
	}
	r := runner{project: p, out: out, system: systemName(), noSkip: o.noSkip}
	r.all(ctx)
	r.report()
	if r.failed() {
		return 1
	}
	return 0
}
