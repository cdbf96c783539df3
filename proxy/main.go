// Command metrics-proxy lets Prometheus scrape many pods through one address. See the
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
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal terminates the process immediately
	stderr := newLogQueue(os.Stderr)
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, stderr)
	stderr.Flush(time.Second)
	if err == nil {
		return
	}
	fmt.Fprintln(stderr, "metrics-proxy:", err)
	stderr.Flush(time.Second)
	var bad usageError
	if errors.As(err, &bad) {
		os.Exit(2)
	}
	os.Exit(1)
}

// usageError is an error in the arguments or the configuration. Its exit code is 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run runs the command in args until it finishes or ctx ends. A usageError is returned
// before any port is opened.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	return dispatch(ctx, commands(), args, call{environ, stdout, stderr})
}

// withConfig loads the configuration and calls do with it. An error in the configuration is
// a usageError.
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
