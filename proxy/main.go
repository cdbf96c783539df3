// Command metrics-proxy lets Prometheus scrape many pods at one address. See the
// README.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "metrics-proxy:", err)
	var bad usageError
	if errors.As(err, &bad) {
		os.Exit(2)
	}
	os.Exit(1)
}

// usageError is a mistake in the arguments or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run does what args say, until it is done or ctx ends. A usageError comes before
// anything listens.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	command := "serve"
	if len(args) == 1 {
		command = args[0]
	}
	if len(args) > 1 {
		return usageError{fmt.Errorf("%d arguments, want one at most: see metrics-proxy --help", len(args))}
	}
	switch command {
	case "serve":
		return withConfig(environ, stderr, func(c config.Config, p *program) error { return p.serve(ctx, c.Serve) })
	case "scrape":
		return withConfig(environ, stderr, func(_ config.Config, p *program) error { return p.scrape(ctx, stdout) })
	case "healthcheck":
		return healthcheck(ctx, environ)
	case "--version", "-version", "version":
		_, err := fmt.Fprintln(stdout, "metrics-proxy", version)
		return err
	case "--help", "-help", "-h", "help":
		return usage(stdout)
	default:
		return usageError{fmt.Errorf("unknown command %q, want serve, scrape, healthcheck, version or --help", command)}
	}
}

func usage(w io.Writer) error {
	_, err := fmt.Fprint(w, `metrics-proxy lets Prometheus scrape many pods at one address.

Usage: metrics-proxy [COMMAND]

  serve        answer /metrics, /-/healthy and /-/ready on PORT (the default)
  scrape       scrape all targets once, print the answer; exit 1 if a target is down or a namespace is forbidden
  healthcheck  exit 0 if the proxy on PORT answers
  version      print the version
  --help       print this

Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration.

Environment variable, default and meaning:

`)
	if err != nil {
		return err
	}
	return config.Usage(w)
}

func withConfig(environ []string, stderr io.Writer, do func(config.Config, *program) error) error {
	c, notes, err := config.Load(environ)
	if err != nil {
		return usageError{err}
	}
	logger := newLogger(stderr, c.Log)
	for _, note := range notes {
		logger.Warn("environment variable ignored", "why", note)
	}
	p, err := newProgram(c, logger)
	if err != nil {
		return usageError{err}
	}
	return do(c, p)
}
