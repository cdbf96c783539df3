// Command bench measures whole processes over HTTP on the loopback interface. It compares
// metrics-proxy, which watches pods on a real API server, with two baselines that scrape
// the same targets. join only concatenates the bodies, which is the minimum that any
// aggregator must do, and does not produce a valid exposition. expfmt merges with the
// expfmt package, which parses each body into objects. Run it in tests/:
// go run ./cmd/bench. It needs Linux.
//
// Every program's response is checked before it is measured. The results are printed as a
// table and are not checked. Ctrl-C stops the command and everything that it started.
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

// command runs the benchmark, or the subcommand that one of its processes runs.
func command(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "exporter":
			return serveExporter(args[1:])
		case "join":
			return serveBaseline(args[1:], join)
		case "expfmt":
			return serveBaseline(args[1:], mergeFamilies)
		}
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	pattern := flags.String("run", "", "run only the rows whose names match this regular expression")
	scrapes := flags.Int("scrapes", 20, "number of measured scrapes per program and row; at most 8 if the bodies exceed 100 MB in total")
	output := flags.String("o", "", "write the raw measurements to this file, as JSON")
	list := flags.Bool("list", false, "list the rows and exit")
	_ = flags.Parse(args) // exits on an error
	if *scrapes < 1 || flags.NArg() > 0 {
		return errors.New("invalid arguments: expected only flags, and -scrapes of at least 1")
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
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills the program
	return run(ctx, chosen, *scrapes, *output, os.Stdout, os.Stderr)
}

func choose(all []row, pattern string) ([]row, error) {
	expression, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("invalid -run: %w", err)
	}
	var chosen []row
	for _, r := range all {
		if expression.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("invalid -run: no row matches %q", pattern)
	}
	return chosen, nil
}

// run measures the rows. If a row fails, the others are still measured.
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
		if err := writeRaw(output, results); err != nil { // after each row, because a run takes long
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d rows failed, see above", failed, len(rows))
	}
	return nil
}
