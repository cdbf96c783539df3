package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// command is one row of the command table.
type command struct {
	name    string
	aliases []string
	help    string
	flags   *flag.FlagSet // nil = the command takes no arguments
	run     func(context.Context, call) error
}

// call is the environment and the output streams that a command runs with.
type call struct {
	environ        []string
	stdout, stderr io.Writer
}

// commands returns the command table. The first command is the default.
func commands() []command {
	return []command{
		{name: "serve", help: "serve /metrics, /-/healthy and /-/ready on PORT (the default)", run: func(ctx context.Context, c call) error {
			surviveSignals()
			return withConfig(c.environ, c.stderr, func(conf config.Config, p *program) error { return p.serve(ctx, conf.Serve) })
		}},
		{name: "scrape", help: "scrape all targets once and print the merged exposition; exit 1 if a target is down or a namespace is forbidden", run: func(ctx context.Context, c call) error {
			return withConfig(c.environ, c.stderr, func(_ config.Config, p *program) error { return p.scrape(ctx, c.stdout) })
		}},
		{name: "healthcheck", help: "exit 0 if the proxy on PORT is healthy", run: func(ctx context.Context, c call) error {
			return healthcheck(ctx, c.environ)
		}},
		{name: "version", aliases: []string{"--version", "-version"}, help: "print the version", run: func(_ context.Context, c call) error {
			_, err := fmt.Fprintln(c.stdout, "metrics-proxy", version)
			return err
		}},
		{name: "--help", aliases: []string{"help", "-help", "-h"}, help: "print this help", run: func(_ context.Context, c call) error {
			return usage(c.stdout, commands())
		}},
	}
}

// dispatch runs the command that args[0] names with the arguments that follow it. Without
// args it runs the default command. An invalid command or argument is a usageError.
func dispatch(ctx context.Context, table []command, args []string, c call) error {
	name := table[0].name
	if len(args) > 0 {
		name = args[0]
	}
	i := slices.IndexFunc(table, func(c command) bool { return c.name == name || slices.Contains(c.aliases, name) })
	if i < 0 {
		last := len(table) - 1
		return usageError{fmt.Errorf("unknown command %q, expected %s or %s", name, strings.Join(names(table[:last]), ", "), table[last].name)}
	}
	if isHelp, err := table[i].parse(args, c.stdout); isHelp || err != nil {
		return err
	}
	return table[i].run(ctx, c)
}

// parse parses the flags of the command. args is empty, or begins with the name of the
// command. If a flag asks for help, parse prints it to stdout and returns true.
func (c command) parse(args []string, stdout io.Writer) (isHelp bool, err error) {
	if c.flags == nil {
		if len(args) > 1 {
			return false, usageError{fmt.Errorf("%d arguments, expected at most one: see metrics-proxy --help", len(args))}
		}
		return false, nil
	}
	c.flags.Init(c.name, flag.ContinueOnError)
	c.flags.SetOutput(io.Discard)
	c.flags.Usage = func() {}
	switch err := c.flags.Parse(args[min(1, len(args)):]); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, "Usage: metrics-proxy %s [FLAGS]: %s\n\n", c.name, c.help)
		c.flags.SetOutput(stdout)
		c.flags.PrintDefaults()
		return true, nil
	case err != nil:
		return false, usageError{fmt.Errorf("%s: %w: see metrics-proxy %s --help", c.name, err, c.name)}
	case c.flags.NArg() > 0:
		return false, usageError{fmt.Errorf("%s accepts only flags, but got %q: see metrics-proxy %s --help", c.name, c.flags.Arg(0), c.name)}
	}
	return false, nil
}

func names(table []command) []string {
	var all []string
	for _, c := range table {
		all = append(all, c.name)
	}
	return all
}

// usage prints the command table and the environment variables.
func usage(w io.Writer, table []command) error {
	var b strings.Builder
	b.WriteString("metrics-proxy lets Prometheus scrape many pods through one address.\n\nUsage: metrics-proxy [COMMAND]\n\n")
	width := len(slices.MaxFunc(names(table), func(a, b string) int { return len(a) - len(b) }))
	for _, c := range table {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, c.name, c.help)
	}
	b.WriteString("\nExit codes: 0 success, 1 failure, 2 invalid arguments or configuration.\n\nEnvironment variables, with their defaults and descriptions:\n\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return config.Usage(w)
}
