// Command bench measures whole processes over HTTP on loopback: metrics-proxy, which
// watches pods on a real API server, beside two yardsticks that are given the same
// targets. join only passes the bytes on, which is the least that any aggregator must
// do, and answers no valid exposition; expfmt merges the obvious way, by objects. Run
// it in tests/: go run ./cmd/bench. It needs Linux.
//
// Every answer is checked before anything is timed. Nothing is asserted of the times:
// the table is for people. Ctrl-C ends it, with all that it has started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command runs the benchmark, or the part of one of its processes.
func command(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "exporter":
			return serveExporter(args[1:])
		case "join":
			return serveYardstick(args[1:], join)
		case "expfmt":
			return serveYardstick(args[1:], mergeFamilies)
		}
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	pattern := flags.String("run", "", "run the rows whose name matches this regular expression")
	scrapes := flags.Int("scrapes", 20, "timed scrapes of each program in a row; 8 at most where bodies are over 100 MB")
	output := flags.String("o", "", "write the raw figures to this file, as JSON")
	list := flags.Bool("list", false, "list the rows")
	_ = flags.Parse(args) // exits on an error
	if *scrapes < 1 || flags.NArg() > 0 {
		return errors.New("cannot understand the arguments: -scrapes is at least 1, and there are no others than flags")
	}
	chosen, err := choose(rows(), *pattern)
	if err != nil {
		return err
	}
	if *list {
		for _, r := range chosen {
			fmt.Println(r.name)
		}
		return nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	return run(ctx, chosen, *scrapes, *output, os.Stdout, os.Stderr)
}

func choose(all []row, pattern string) ([]row, error) {
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("cannot choose rows: %w", err)
	}
	var chosen []row
	for _, r := range all {
		if expression.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("cannot choose rows: none matches %q", pattern)
	}
	return chosen, nil
}

// run measures the rows. One that fails does not keep the others from it.
func run(ctx context.Context, rows []row, scrapes int, output string, table, progress io.Writer) (err error) {
	bed, err := testbed.New(progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	b, err := newBench(ctx, bed, rows, progress)
	if err != nil {
		return err
	}
	if err := writeHead(table); err != nil {
		return err
	}
	var results []result
	failed := 0
	for _, r := range rows {
		result, err := b.runRow(ctx, r, scrapes)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			fmt.Fprintln(progress, err)
			failed++
			continue
		}
		if err := writeResult(table, result); err != nil {
			return err
		}
		results = append(results, result)
		if output == "" {
			continue
		}
		if err := writeRaw(output, results); err != nil { // after each row: a run is long
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d rows failed, see above", failed, len(rows))
	}
	return nil
}
