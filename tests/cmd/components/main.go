// Command components builds the components that are not installed or in the cache, so that
// tests need not build them. It prints the path of each component.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

func main() {
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, name := range testbed.Components() {
		path, err := testbed.Binary(ctx, name, os.Stderr)
		if err != nil {
			return err
		}
		fmt.Printf("%s\t%s\n", name, path)
	}
	return nil
}
