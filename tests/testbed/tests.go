package testbed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// RunTests implements TestMain: it creates a bed, calls prepare, runs the tests, stops the
// bed, and exits.
func RunTests(m *testing.M, prepare func(context.Context, *Bed) error) {
	flag.Parse()
	code, err := runTests(m, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M, prepare func(context.Context, *Bed) error) (code int, err error) {
	bed, err := New(os.Stderr)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	if err := prepare(context.Background(), bed); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// Eventually calls check until it returns nil. After bound, which should be generous, it fails
// the test with the last error.
func Eventually(t testing.TB, bound time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(bound)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
