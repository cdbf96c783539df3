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
	flag.Parse()
	os.Exit(run(ctx, *dir, flag.Args(), os.Stdout))
}

// run returns the exit code. When ctx ends, the script that runs is killed, and what was
// prepared is restored.
func run(ctx context.Context, dir string, selected []string, out io.Writer) int {
	p, err := readProject(dir)
	if err == nil {
		err = p.selectTasks(selected)
	}
	if err != nil {
		fmt.Fprintln(out, "spreadrun:", err)
		return 2
	}
	r := runner{project: p, out: out, system: systemName()}
	r.all(ctx)
	r.report()
	if r.failed() {
		return 1
	}
	return 0
}
