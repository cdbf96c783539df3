package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Getenv("BED"), os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "spreadbed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, args []string) error {
	switch {
	case dir == "":
		return errors.New("BED is not set: want a directory for the bed's files")
	case len(args) == 0:
		return errors.New("no command is given: want start, stop, pod, annotate, delete, clear, user, allow or port")
	case args[0] == "start":
		return start(ctx, dir)
	case args[0] == "serve": // what start runs
		return serve(ctx, dir)
	case args[0] == "stop" && !answers(ctx, dir):
		fmt.Println("no test bed runs in", dir)
		return nil
	default:
		return call(ctx, dir, args, os.Stdout)
	}
}
